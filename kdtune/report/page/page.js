"use strict";

// Tables: a click on a title sorts by its column, another one turns the order around.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const titles = [...table.tHead.rows[0].cells];
  titles.forEach((title, column) => {
    title.querySelector("button").addEventListener("click", () => {
      const down = title.getAttribute("aria-sort") === "ascending";
      titles.forEach((other) => other.setAttribute("aria-sort", "none"));
      title.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((one, two) => compared(one, two, column, down ? -1 : 1));
      body.append(...rows);
    });
  });
}

function compared(one, two, column, sign) {
  const [a, b] = [one, two].map((row) => row.cells[column].dataset.sort);
  if (a === "" || b === "") return (a === "") - (b === "");  // What is missing comes last.
  const [x, y] = [Number(a), Number(b)];
  return sign * (Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y);
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const text = button.nextElementSibling;
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {  // Not every browser lets a file do that.
      window.getSelection().selectAllChildren(text);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

// A chart follows the room that it has: beside others, folded out, on paper. The browser lays out
// a page for paper after the last moment to redraw, so the page takes that width before.
const charts = document.querySelectorAll(".js-plotly-plot");
const room = new ResizeObserver((seen) => seen.forEach((entry) => fit(entry.target)));
charts.forEach((chart) => room.observe(chart.parentElement));
window.addEventListener("beforeprint", () => fitAll(true));
window.addEventListener("afterprint", () => fitAll(false));

function fitAll(paper) {
  document.documentElement.classList.toggle("paper", paper);
  charts.forEach(fit);
}

// Of many lines the one under the pointer is drawn again, on top.
for (const chart of charts) {
  const top = chart.data.findIndex((trace) => trace.meta === "highlight");
  if (top < 0) continue;
  const lines = chart.data.filter((trace) => trace.hovertext && trace.mode.includes("lines"));
  const draw = (x, y) => Plotly.restyle(chart, { x: [x], y: [y] }, [top]);
  chart.on("plotly_hover", ({ points: [{ hovertext }] }) => {
    const own = (axis) => lines.flatMap((line) => line[axis].filter((_, i) => line.hovertext[i] === hovertext));
    if (hovertext) draw(own("x"), own("y"));
  });
  chart.on("plotly_unhover", () => draw([], []));
}

function fit(chart) {
  const plot = chart.querySelector(".js-plotly-plot") ?? chart;
  const width = plot.parentElement.clientWidth;
  if (width && width !== plot.layout.width) Plotly.relayout(plot, { width });
}
