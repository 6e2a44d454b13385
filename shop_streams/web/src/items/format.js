// Numbers and times as the reader writes them.

const whole = new Intl.NumberFormat();
const one = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const money = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const absent = "–";

export const COLUMNS = [
  { name: "item", title: "Item", shown: (value) => value },
  { name: "views", title: "Views", shown: (value) => whole.format(value) },
  { name: "deep", title: "Depth", help: "Page views of the visit up to a view of the item, on average", shown: (value) => (value === null ? absent : one.format(value)) },
  { name: "orders", title: "Orders", help: "Ordered pieces", shown: (value) => whole.format(value) },
  { name: "sum", title: "Sum", help: "Price times pieces", shown: (value) => money.format(value) },
];

export const count = (value) => whole.format(value);

/** A <time> in the reader's zone; the tooltip has it in UTC. */
export function timeElement(date, onlyClock = false) {
  const element = document.createElement("time");
  element.dateTime = date.toISOString();
  element.title = `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
  element.textContent = (onlyClock ? clock : time).format(date);
  return element;
}
