// Charts, sorting, the choice of a domain, and money by the month. No part of it asks the network.
"use strict";
const $ = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const views = [];

async function draw() {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  for (const place of $("[data-chart]")) {
    const result = await window.vegaEmbed(place, specs[place.dataset.chart], { actions: false, renderer: "svg", tooltip: { theme: "custom" } });
    // The drawing is one picture with a label; its parts would be read one by one, and the table has them all.
    for (const part of $("svg, svg [role]", place)) { part.removeAttribute("role"); part.removeAttribute("aria-roledescription"); part.removeAttribute("aria-label"); }
    $("svg", place).forEach((svg) => svg.setAttribute("aria-hidden", "true"));
    views.push({ view: result.view, filters: (specs[place.dataset.chart].params || []).some((p) => p.name === "domain") });
  }
  document.body.dataset.drawn = "yes";
}

function sortBy(table, column, button) {
  const head = button.closest("th");
  const down = head.getAttribute("aria-sort") === "ascending";
  $("th", table).forEach((th) => th.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => { const cell = row.cells[column]; return cell.dataset.order ?? cell.textContent; };
  const compare = (a, b) => (isNaN(a) || isNaN(b) ? String(a).localeCompare(String(b)) : a - b);
  const body = table.tBodies[0];
  [...body.rows].sort((a, b) => compare(key(a), key(b)) * (down ? -1 : 1)).forEach((row) => body.append(row));
}

function money(amount) {
  const size = Math.abs(amount), sign = amount < 0 ? "-" : "";
  const text = size >= 10 ? size.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 }) : Number(size.toPrecision(3)).toLocaleString("en-US", { maximumFractionDigits: 20, useGrouping: false });
  return sign + "$" + text;
}

function priceMonth() {
  const queries = Number(document.getElementById("queries").value) || 0;
  for (const cell of $("[data-per-query-usd]")) {
    const amount = Number(cell.dataset.perQueryUsd) * queries;
    cell.textContent = money(amount);
  }
}

function showDomain(domain) {
  for (const table of $("table[data-domain-column]")) {
    for (const row of table.tBodies[0].rows) {
      row.hidden = domain !== "" && row.cells[table.dataset.domainColumn].textContent !== domain;
    }
  }
  for (const { view, filters } of views) if (filters) view.signal("domain", domain).runAsync();
}

for (const table of $("table[data-sortable]")) {
  $("th button", table).forEach((button, column) => button.addEventListener("click", () => sortBy(table, column, button)));
}
document.getElementById("queries").addEventListener("input", priceMonth);
document.getElementById("domain")?.addEventListener("change", (event) => showDomain(event.target.value));
document.getElementById("theme").addEventListener("change", (event) => { document.documentElement.dataset.theme = event.target.value; });
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
let opened = [];
addEventListener("beforeprint", () => { opened = $("details:not([open])"); opened.forEach((d) => { d.open = true; }); });
addEventListener("afterprint", () => opened.forEach((d) => { d.open = false; }));
priceMonth();
draw();
