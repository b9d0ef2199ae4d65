// The playground: type, see the forecasts, ask, say how good the answer was.
let balanced = null;    // the orchestrator's own price on cost: the middle of the slider
let running = null;     // the request that is being answered
let routing = null;     // the last request for forecasts
let timer = 0;

// 100 is free of cost, 50 the orchestrator's own price, 0 a thousand times that.
function multiplier() {
  const place = Number($("price").value);
  if (place >= 100) return 0;
  if (balanced === null) return undefined;
  return (balanced || 1) * 10 ** ((50 - place) / 50 * 3);
}

function showPrice() {
  const place = Number($("price").value);
  $("priceText").textContent = place >= 100 ? "the best, whatever it costs" : place === 50 ? "balanced"
    : place > 50 ? "leaning to quality" : "leaning to economy";
}

function showForecasts(forecasts, expert, reason) {
  const body = $("forecasts").tBodies[0];
  const dearest = Math.max(...forecasts.map((f) => f.cost_usd), 1e-18);
  body.replaceChildren();
  for (const forecast of forecasts) {
    const row = body.insertRow();
    if (forecast.expert === expert) row.className = "chosen";
    cell(row, forecast.expert + (forecast.served === false ? " (not served)" : ""));
    bar(row, forecast.success, (forecast.success * 100).toFixed(0) + "%");
    bar(row, forecast.cost_usd / dearest, usd(forecast.cost_usd));
  }
  $("reason").textContent = expert + ": " + reason;
}

async function forecast() {
  const query = $("query").value.trim();
  if (!query) return null;
  routing?.abort();
  routing = new AbortController();
  const body = { query, multiplier: multiplier() };
  try {
    const reply = await fetch("v1/route", { method: "POST", headers: headers(), body: JSON.stringify(body), signal: routing.signal });
    if (!reply.ok) { $("trouble").textContent = await refusal(reply); return null; }
    const told = await reply.json();
    $("trouble").textContent = "";
    if (balanced === null) balanced = told.multiplier;
    showForecasts(told.forecasts, told.expert, told.reason);
    return told;
  } catch (error) {
    if (error.name !== "AbortError") $("trouble").textContent = "The endpoint does not answer.";
    return null;
  }
}

function forecastSoon() {
  clearTimeout(timer);
  timer = setTimeout(forecast, 150);
}

async function* pieces(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

async function ask(event) {
  event?.preventDefault();
  const query = $("query").value.trim();
  if (!query || running) return;
  running = new AbortController();
  $("ask").disabled = true;
  $("stop").disabled = false;
  $("answer").textContent = "";
  $("facts").textContent = "";
  let told = null;
  try {
    if (!await forecast()) return;
    const body = { model: "leeroo", multiplier: multiplier(), messages: [{ role: "user", content: query }], stream: true };
    const reply = await fetch("v1/chat/completions", { method: "POST", headers: headers(), body: JSON.stringify(body), signal: running.signal });
    if (!reply.ok) { $("trouble").textContent = await refusal(reply); return; }
    for await (const piece of pieces(reply)) {
      if (piece.error) { $("trouble").textContent = piece.error.message; continue; }
      if (piece.leeroo) told = piece.leeroo;
      $("answer").textContent += piece.choices?.[0]?.delta?.content ?? "";
    }
  } catch (error) {
    $("trouble").textContent = error.name === "AbortError" ? "Stopped." : "The endpoint does not answer.";
  } finally {
    running = null;
    $("ask").disabled = false;
    $("stop").disabled = true;
  }
  if (told) {
    const tried = told.tried.map((attempt) => attempt.expert).join(", ");
    $("facts").textContent = `${told.expert}, ${usd(told.cost_usd)}, ${told.latency_s.toFixed(2)} s, router version ${told.router_version}`
      + (tried ? `; asked without success: ${tried}` : "");
    remember(query, told);
  }
}

function remember(query, told) {
  const row = $("recent").tBodies[0].insertRow(0);
  cell(row, query.length > 60 ? query.slice(0, 60) + "…" : query);
  cell(row, told.expert);
  cell(row, told.predicted_success == null ? "–" : (told.predicted_success * 100).toFixed(0) + "%");
  cell(row, usd(told.cost_usd));
  cell(row, told.latency_s.toFixed(2));
  const vote = cell(row, "");
  for (const [text, thumb, told_as] of [["👍", "up", "good"], ["👎", "down", "not good"]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.textContent = text;
    button.setAttribute("aria-label", told_as);
    button.onclick = async () => {
      const body = JSON.stringify({ request_id: told.request_id, thumb, source: "playground" });
      const reply = await fetch("v1/feedback", { method: "POST", headers: headers(), body });
      vote.textContent = reply.ok ? text : await refusal(reply);
    };
    vote.append(button, " ");
  }
  while ($("recent").rows.length > 21) $("recent").deleteRow(-1);
}

$("form").addEventListener("submit", ask);
$("stop").addEventListener("click", () => running?.abort());
$("query").addEventListener("input", forecastSoon);
$("price").addEventListener("input", () => { showPrice(); forecastSoon(); });
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask(event);
  if (event.key === "Escape") running?.abort();
});
showPrice();
const asked = new URLSearchParams(location.search).get("ask");  // /?ask=... is a link to a question
if (asked) { $("query").value = asked; forecast(); }
fetch("healthz").then((reply) => reply.json()).then((told) => {
  $("state").textContent = `router version ${told.router_version}, ${told.experts.length} expert${told.experts.length === 1 ? "" : "s"}`;
}).catch(() => { $("state").textContent = "the endpoint does not answer"; });
