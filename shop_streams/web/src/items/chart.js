// The chart: bars of the first items, by the column that the table is sorted by.
import { BarController, BarElement, CategoryScale, Chart, LinearScale, Tooltip } from "chart.js";

Chart.register(BarController, BarElement, CategoryScale, LinearScale, Tooltip);

const BARS = 10;
const NARROW = 480; // pixels: there the item's name alone, and less of it
Chart.defaults.font.family = "system-ui, sans-serif";
let chart = null;

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const short = (text, longest) => (text.length > longest ? `${text.slice(0, longest - 1)}…` : text);

/** Draw the first rows; returns how many. */
export function draw(canvas, rows, column, severalShops) {
  const first = rows.slice(0, BARS);
  const narrow = canvas.parentElement.clientWidth < NARROW;
  const data = {
    labels: first.map((row) => short(severalShops && !narrow ? `${row.item} · ${row.url}` : row.item, narrow ? 14 : 32)),
    datasets: [{ label: column.title, data: first.map((row) => row[column.name] ?? 0), backgroundColor: color("--bar"), borderRadius: 3, maxBarThickness: 22 }],
  };
  const axis = (grid) => ({ grid: { display: grid, color: color("--line") }, ticks: { color: color("--text"), precision: 0 }, border: { display: false } });
  const options = {
    indexAxis: "y",
    animation: false,
    responsive: true,
    maintainAspectRatio: false,
    scales: { x: { ...axis(true), beginAtZero: true }, y: { ...axis(false), ticks: { color: color("--text"), autoSkip: false } } },
    plugins: {
      tooltip: {
        callbacks: {
          title: ([hit]) => `${first[hit.dataIndex].item}, ${first[hit.dataIndex].url}`,
          label: (hit) => `${column.title}: ${column.shown(first[hit.dataIndex][column.name])}`,
        },
      },
    },
  };
  canvas.parentElement.style.height = `${Math.max(first.length, 2) * 30 + 40}px`;
  if (chart) {
    Object.assign(chart, { data, options });
    chart.update();
  } else {
    chart = new Chart(canvas, { type: "bar", data, options });
  }
  return first.length;
}
