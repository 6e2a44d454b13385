// The page: asks the API every few seconds, and shows what it answers. The address keeps the filters.
import "./style.css";
import { NoAnswer, numbers } from "./api.js";
import { draw } from "./chart.js";
import { COLUMNS, count, timeElement } from "./format.js";
import { joined, sorted, totals } from "./rows.js";

const REFRESH_MS = 5000;
const ROWS = 100;
const at = (id) => document.getElementById(id);
const given = new URLSearchParams(location.search);
const filters = { shop: given.get("shop") ?? "", hours: given.get("hours") ?? "3", sort: given.get("sort") ?? "views" };
if (!COLUMNS.some((column) => column.name === filters.sort)) filters.sort = "views";
let found = null; // { rows, since, at } of the last answer
let rowsShown = ROWS;
let timer = null;
let asked = 0; // only the answer to the last question is shown

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function say(text) {
  if (at("said").textContent !== text) at("said").textContent = text;
}

async function refresh() {
  clearTimeout(timer);
  const question = ++asked;
  const since = Math.floor(Date.now() / 1000) - 3600 * Number(filters.hours);
  try {
    const [users, orders] = await numbers(since);
    if (question !== asked) return;
    found = { rows: joined(users, orders), since: new Date(since * 1000), at: new Date() };
    at("problem").hidden = true;
    show();
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    if (question === asked) showProblem(error.message);
  } finally {
    if (question === asked) timer = setTimeout(() => document.hidden || refresh(), REFRESH_MS);
  }
}

function showProblem(reason) {
  const last = found ? [" The numbers below are of ", timeElement(found.at, true), "."] : [];
  at("problem").replaceChildren(`${reason} This page tries again every ${REFRESH_MS / 1000} seconds.`, ...last);
  at("problem").hidden = false;
  at("status").textContent = "";
  say(reason);
}

function show() {
  showShops();
  const rows = sorted(found.rows.filter((row) => !filters.shop || row.url === filters.shop), filters.sort);
  at("status").replaceChildren("Half hours that ended since ", timeElement(found.since), ". Updated at ", timeElement(found.at, true), ".");
  at("numbers").hidden = rows.length === 0;
  at("empty").hidden = rows.length > 0;
  if (rows.length === 0) {
    showEmpty();
    return;
  }
  const severalShops = new Set(rows.map((row) => row.url)).size > 1;
  const column = COLUMNS.find(({ name }) => name === (filters.sort === "item" ? "views" : filters.sort));
  showTotals(totals(rows));
  showTable(rows);
  const bars = draw(at("chart"), filters.sort === "item" ? sorted(rows, "views") : rows, column, severalShops);
  at("chart-title").textContent = bars === 1 ? `${column.title} of the item` : `The first ${bars} items by ${column.title.toLowerCase()}`;
  say(`${count(rows.length)} items`);
}

function showShops() {
  const shops = [...new Set([...found.rows.map((row) => row.url), ...(filters.shop ? [filters.shop] : [])])].sort();
  const options = [element("option", { value: "", textContent: "all shops" }), ...shops.map((shop) => element("option", { value: shop, textContent: shop }))];
  const known = [...at("shop").options].map((option) => option.value).join("\n");
  if (known !== options.map((option) => option.value).join("\n")) at("shop").replaceChildren(...options); // an open list stays open
  at("shop").value = filters.shop;
}

function showEmpty() {
  const hours = filters.hours === "1" ? "the last hour" : `the last ${filters.hours} hours`;
  const shop = filters.shop ? ` of ${filters.shop}` : "";
  const port = document.body.dataset.demoShopPort; // empty without a demo shop
  const demo = element("a", { href: `${location.protocol}//${location.hostname}:${port}/`, textContent: "the demo shop" });
  const next = element("p", {}, ...(port ? ["Open ", demo, " and look at some items. "] : []), "A half hour is counted here soon after its clicks came in.");
  at("empty").replaceChildren(element("h2", { textContent: `No item${shop} was viewed or ordered in ${hours}` }), next, element("p", { textContent: "If there are older numbers, choose more hours above." }));
  say("No items");
}

function showTotals(all) {
  const values = [["Items", count(all.items)], ...COLUMNS.slice(1).map((column) => [column.title, column.shown(all[column.name])])];
  at("totals").replaceChildren(...values.map(([title, value]) => element("div", {}, element("dt", { textContent: title }), element("dd", { textContent: value }))));
}

function showTable(rows) {
  at("items-title").textContent = `${count(rows.length)} ${rows.length === 1 ? "item" : "items"}, by ${COLUMNS.find(({ name }) => name === filters.sort).title.toLowerCase()}`;
  for (const header of document.querySelectorAll("#items th[data-column]")) {
    const order = header.dataset.column === "item" ? "ascending" : "descending";
    header.setAttribute("aria-sort", header.dataset.column === filters.sort ? order : "none");
  }
  at("items").tBodies[0].replaceChildren(...rows.slice(0, rowsShown).map(tableRow));
  at("more").hidden = rows.length <= rowsShown;
  at("more").textContent = `Show ${count(Math.min(ROWS, rows.length - rowsShown))} more`;
}

function tableRow(row) {
  const name = element("th", { scope: "row", role: "rowheader" }, element("span", { className: "item", textContent: row.item }), element("span", { className: "shop", textContent: row.url }));
  return element("tr", { role: "row" }, name, ...COLUMNS.slice(1).map((column) => element("td", { role: "cell", textContent: column.shown(row[column.name]) })));
}

function change(name, value) {
  filters[name] = value;
  rowsShown = ROWS;
  history.replaceState(null, "", `?${new URLSearchParams(filters)}`);
  if (found && name !== "hours") show();
  if (name === "hours") refresh();
}

function start() {
  for (const { name, title, help } of COLUMNS) {
    const button = element("button", { type: "button", textContent: title, title: help ?? "", onclick: () => change("sort", name) });
    const header = element("th", { scope: "col", role: "columnheader" }, button);
    header.dataset.column = name;
    at("items").tHead.rows[0].append(header);
  }
  at("hours").value = filters.hours;
  if (at("hours").selectedIndex < 0) at("hours").value = filters.hours = "3";
  at("hours").onchange = (event) => change("hours", event.target.value);
  at("shop").onchange = (event) => change("shop", event.target.value);
  at("filters").onsubmit = (event) => event.preventDefault();
  at("more").onclick = () => {
    rowsShown += ROWS;
    show();
  };
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => found && show());
  refresh();
}

start();
