// Pure functions: answers of the API to rows of the table.

/** One row for each item: views and orders of the same shop and item together. */
export function joined(users, orders) {
  const rows = new Map();
  const row = ({ url, id_item: item }) => {
    const key = JSON.stringify([url, item]);
    if (!rows.has(key)) rows.set(key, { url, item, views: 0, deep: null, orders: 0, sum: 0 });
    return rows.get(key);
  };
  for (const one of users) Object.assign(row(one), { views: one.count, deep: one.deep });
  for (const one of orders) Object.assign(row(one), { orders: one.count, sum: one.sum });
  return [...rows.values()];
}

/** Sorted by a column, the largest number first, or by name from A on; equal ones by name. */
export function sorted(rows, column) {
  const byName = (a, b) => compare(a.item, b.item) || compare(a.url, b.url);
  if (column === "item") return [...rows].sort(byName);
  return [...rows].sort((a, b) => (b[column] ?? -1) - (a[column] ?? -1) || byName(a, b));
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function totals(rows) {
  const sum = (column) => rows.reduce((all, row) => all + row[column], 0);
  const views = sum("views");
  const deep = views ? rows.reduce((all, row) => all + row.views * (row.deep ?? 0), 0) / views : null;
  return { items: rows.length, views, deep, orders: sum("orders"), sum: sum("sum") };
}
