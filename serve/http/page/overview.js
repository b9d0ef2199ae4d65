// The overview: it fetches /v1/overview again and again while the page is visible.
const LOOK_MS = 5000;
let looking = 0;
let seen = null;   // when the figures on the page were fetched

function card(name, value, note) {
  const made = document.createElement("div");
  for (const [tag, text] of [["dt", name], ["dd", value], ["dd", note]]) {
    if (!text) continue;
    const part = document.createElement(tag);
    part.textContent = text;
    if (/^[−$]/.test(text) && text.length > 10 && text.length < 16) part.className = "long";   // a small amount stays one word
    made.append(part);
  }
  $("cards").append(made);
}

function fill(table, rows, draw, empty) {
  const body = $(table).tBodies[0];
  body.replaceChildren();
  for (const told of rows) draw(body.insertRow(), told);
  if (!rows.length) {
    const made = cell(body.insertRow(), empty, "quiet");
    made.colSpan = $(table).tHead.rows[0].cells.length;
  }
}

const share = (part, whole) => whole > 0 ? part / whole : 0;

function showCards(told) {
  $("cards").replaceChildren();
  card("requests answered", count(told.answers), told.failed ? `${count(told.failed)} failed` : "none failed");
  card("spent", usd(told.cost_usd), told.answers ? `${usd(told.cost_usd / told.answers)} per request` : "");
  const saved = told.savings;
  card("saved against always the best", saved ? usd(saved.saved_usd) : "–",
    saved ? `${percent(share(saved.saved_usd, saved.saved_usd + saved.paid_usd))} of ${usd(saved.saved_usd + saved.paid_usd)}` : "nothing to compare yet");
  card("latency", told.p50_s == null ? "–" : seconds(told.p50_s) + " s", told.p95_s == null ? "" : `95% within ${seconds(told.p95_s)} s`);
  const away = told.experts.filter((one) => one.state && one.state !== "ok");
  const served = told.experts.filter((one) => one.state);
  card("health", told.router !== "ok" ? "no router" : away.length ? `${away.length} of ${served.length} unavailable` : "all healthy",
    told.router !== "ok" ? "the router does not answer; experts asked by name still do" : away.map((one) => named(one.expert)).join(", "));
  if (told.in_flight != null) card("under way", count(told.in_flight), "");
  card("champion", told.champion ?? "–", told.challenger ? `challenger: ${told.challenger}` : "");
}

function showSavings(told) {
  const s = told.savings;
  $("savings").textContent = !s
    ? "Savings need requests that were routed and recorded (--record features, the default)."
    : `How savings are computed: ${count(s.requests)} of ${count(told.answers)} requests were routed and recorded, with ${named(s.best_expert)} among the candidates.`
      + ` It has the highest mean forecast of success (${percent(s.best_success)}; the chosen experts: ${percent(s.chosen_success)}).`
      + ` Forecast cost: ${usd(s.best_usd)} for its answers, ${usd(s.chosen_usd)} for those of the chosen experts, whose bill was ${usd(s.paid_usd)}.`
      + ` Calls that were not made have no bill, so the saving is an estimate: its forecast, scaled as the bill is to the forecast of the chosen experts.`;
}

function showTables(told) {
  const dearest = Math.max(...told.by_day.map((day) => day.cost_usd), 1e-18);
  fill("byDay", told.by_day.toReversed(), (row, day) => {
    cell(row, day.day);
    bar(row, day.cost_usd / dearest, usd(day.cost_usd));
    cell(row, usd(day.saved_usd), "number");
    cell(row, count(day.answers), "number");
    cell(row, count(day.failed), day.failed ? "number warn" : "number");
  }, "no request in these days");
  fill("experts", told.experts, (row, one) => {
    cell(row, one.expert, "name");
    cell(row, one.state ?? "not served", one.state === "ok" ? "" : "warn");
    bar(row, one.share, percent(one.share));
    cell(row, count(one.answers), "number");
    cell(row, usd(one.cost_usd), "number");
    cell(row, seconds(one.p50_s), "number");
    cell(row, seconds(one.p95_s), "number");
    cell(row, percent(one.forecast_success), "number");
    cell(row, usd(one.forecast_usd), "number");
  }, "no expert");
  $("versionsPart").hidden = !told.sees_all;
  fill("versions", told.versions, (row, one) => {
    cell(row, one.version);
    cell(row, one.role);
    cell(row, count(one.requests), "number");
    cell(row, percent(one.forecast_success), "number");
    cell(row, usd(one.forecast_usd), "number");
    cell(row, usd(one.paid_usd), "number");
    cell(row, percent(one.agrees), "number");
  }, "no routed request was recorded in these days");
  fill("keys", told.keys, (row, key) => {
    cell(row, key.name, "name");
    const used = key.spent_usd + key.reserved_usd;
    bar(row, key.budget_usd ? used / key.budget_usd : 0, usd(used));
    cell(row, key.left_usd == null ? "no limit" : usd(key.left_usd), "number");
    cell(row, key.budget_usd == null ? "–" : `${usd(key.budget_usd)} ${key.period === "total" ? "in all" : "a " + key.period}`, "number");
    cell(row, count(key.requests), "number");
  }, "there are no keys");
  $("moreKeys").textContent = told.more_keys ? `${count(told.more_keys)} more keys: leeroo keys list` : "";
}

function drawDecision(row, one) {
  const made = row.insertCell();
  const details = document.createElement("details");
  const head = document.createElement("summary");
  head.textContent = named(one.expert) + (one.explored ? " (exploring)" : one.chosen && one.chosen !== one.expert ? ` after ${named(one.chosen)}` : "");
  const why = document.createElement("p");
  why.textContent = [
    one.why ? named(one.why) + "." : "The reason was not recorded.",
    one.role ? `Decided by: ${one.role === "named" ? "the request, which named it" : `${one.role}, version ${one.version}`}.` : "",
    one.form ? `Form: ${one.form}.` : "",
    one.tried.length ? `Asked without success: ${one.tried.map(named).join("; ")}.` : "",
    `Request ${one.request_id}.`,
  ].filter(Boolean).join(" ");
  details.append(head, why);
  if (one.forecasts.length) {
    const list = document.createElement("ul");
    for (const forecast of one.forecasts) {
      const item = document.createElement("li");
      item.textContent = `${named(forecast.expert)}: ${percent(forecast.success)}, ${usd(forecast.cost_usd)}`;
      if (forecast.expert === one.chosen) item.className = "chosen";
      list.append(item);
    }
    if (one.more_forecasts) {
      const item = document.createElement("li");
      item.textContent = `and ${one.more_forecasts} more`;
      list.append(item);
    }
    details.append(list);
  }
  made.append(details);
  cell(row, usd(one.cost_usd), "number");
  cell(row, seconds(one.latency_s), "number");
  cell(row, new Date(one.at * 1000).toLocaleTimeString(), "number");
  cell(row, one.key ?? "–", "name");
}

// Existing rows are not redrawn, so that an open one stays open and keeps the focus.
function showDecisions(told) {
  const body = $("decisions").tBodies[0];
  const kept = new Map([...body.rows].map((row) => [row.dataset.id, row]));
  const wanted = new Set(told.recent.map((one) => one.request_id));
  for (const [id, row] of kept) if (!wanted.has(id)) row.remove();
  for (const one of told.recent.toReversed()) {
    if (kept.has(one.request_id)) continue;
    const row = body.insertRow(0);
    row.dataset.id = one.request_id;
    drawDecision(row, one);
  }
  if (!told.recent.length) cell(body.insertRow(), "none yet", "quiet").colSpan = 5;
  $("counted").textContent = `Decisions and latencies are those of this process, which started at ${new Date(told.counted_since * 1000).toLocaleString()}.`;
}

async function look() {
  clearTimeout(looking);
  if ($("overview").hidden || document.visibilityState === "hidden") return;
  try {
    const reply = await fetch("v1/overview?days=" + $("days").value, { headers: headers() });
    if (reply.ok) {
      const told = await reply.json();
      seen = new Date();
      $("overviewTrouble").textContent = "";
      $("scope").textContent = told.sees_all ? "all requests" : "this key's requests";
      showCards(told);
      showSavings(told);
      showTables(told);
      showDecisions(told);
    } else {
      $("overviewTrouble").textContent = await refusal(reply);
    }
  } catch {
    $("overviewTrouble").textContent = "The endpoint does not answer.";
  }
  $("updated").textContent = seen ? `figures of ${seen.toLocaleTimeString()}` : "";
  looking = setTimeout(look, LOOK_MS);
}

function showView() {
  const wanted = location.hash === "#overview" ? "overview" : "playground";
  for (const view of ["playground", "overview"]) $(view).hidden = view !== wanted;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === "#" + wanted) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  look();
}

$("days").addEventListener("change", look);
$("key").addEventListener("change", look);
$("keyForm").addEventListener("submit", (event) => { event.preventDefault(); look(); });
document.addEventListener("visibilitychange", look);
addEventListener("hashchange", showView);
showView();
if (!$("playground").hidden) $("query").focus();
