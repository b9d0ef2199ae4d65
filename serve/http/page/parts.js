"use strict";
const $ = (id) => document.getElementById(id);

// Amounts keep three digits however small, and are grouped where they are large.
function usd(value) {
  if (value == null || Number.isNaN(value)) return "–";
  const size = Math.abs(value), sign = value < 0 ? "−" : "";
  if (size === 0) return "$0";
  if (size >= 1e9) return `${sign}$${size.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 4 })}`;
  const places = size >= 100 ? 0 : Math.min(15, Math.max(2, 2 - Math.floor(Math.log10(size))));
  return sign + "$" + size.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
}

const count = (value) => value.toLocaleString("en", value >= 1e9
  ? { notation: "compact", maximumSignificantDigits: 4 } : {});
const percent = (share) => share == null ? "–" : (share * 100).toFixed(share > 0 && share < 0.0995 ? 1 : 0) + "%";
const seconds = (value) => value == null ? "–" : value.toFixed(value < 10 ? 2 : 0);

function headers() {
  const sent = { "Content-Type": "application/json" };
  if ($("key").value) sent.Authorization = "Bearer " + $("key").value;
  return sent;
}

// A name within a sentence stays by itself, whichever way its letters run.
const named = (name) => "\u2068" + name + "\u2069";

// Everything told by others becomes text, never markup.
function cell(row, text, className) {
  const made = row.insertCell();
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function bar(row, share, text) {
  const track = document.createElement("div");
  const fill = document.createElement("div");
  const label = document.createElement("span");
  track.className = "track";
  fill.className = "fill";
  fill.style.width = Math.max(0, Math.min(1, share || 0)) * 70 + "%";
  label.textContent = text;
  track.append(fill, label);
  const made = row.insertCell();
  made.className = "bar";
  made.append(track);
}

async function refusal(reply) {
  if (reply.status === 401) {
    $("keyForm").hidden = false;
    $("key").focus();
  }
  try { return (await reply.json()).error.message; } catch { return "status " + reply.status; }
}
