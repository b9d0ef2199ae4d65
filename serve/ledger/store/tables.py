"""The ledger's tables, in SQLite's words, and the columns that older ledgers lack."""

from __future__ import annotations

FORMAT = 3  # kept in the database; a later version of the tables may mean other things by its rows

TABLES = """
create table if not exists keys (
  key_id text primary key, name text not null, secret_hash text not null unique, budget integer,
  period text not null, requests_per_minute integer, experts text, preset text,
  created_at real not null, revoked_at real, paced_over integer, max_experts_asked integer,
  max_latency_s real, record text, explore_share real, explore_usd_per_day real,
  operator integer not null default 0, team_id text, expires_at real,
  previous_hash text, previous_until real, rotations integer not null default 0, models text, dialects text,
  networks text, alert_at text, admin integer not null default 0,
  changes integer not null default 0);
create table if not exists teams (
  team_id text primary key, name text not null, parent_id text, budget integer, period text not null,
  created_at real not null, removed_at real, alert_at text);
create table if not exists usage_days (
  day text not null, key_id text not null, team_id text not null, expert text not null,
  answers integer not null, prompt_tokens integer not null, completion_tokens integer not null,
  cost integer not null, primary key (day, key_id, team_id, expert)) without rowid;
create table if not exists admin_log (
  deed_id text primary key, at real not null, actor text not null, action text not null, target text not null,
  settings text not null);
create table if not exists alerts (
  alert_id text primary key, account_id text not null, kind text not null, name text not null,
  period text not null, period_start text not null, event text not null, percent integer not null,
  budget integer not null, spent integer not null, created_at real not null, state text not null,
  attempts integer not null, next_at real not null, unique (account_id, period_start, event, percent));
create table if not exists spending (
  key_id text not null, period_start text not null, spent integer not null default 0,
  reserved integer not null default 0, requests integer not null default 0,
  disputed integer not null default 0, forgotten_spent integer not null default 0,
  forgotten_disputed integer not null default 0, excused integer not null default 0,
  primary key (key_id, period_start)) without rowid;
create table if not exists calls (
  request_id text primary key, key_id text not null, period_start text not null, reserved integer not null,
  cost integer, state text not null, expires_at real not null, created_at real not null,
  owner text not null default '', likely integer not null default 0,
  disputed integer not null default 0, extensions integer not null default 0, teams text);
create table if not exists owners (owner text primary key, beats integer not null) without rowid;
create table if not exists decisions (
  request_id text primary key, key_id text, content text not null, feedback_score real,
  created_at real not null);
create table if not exists traffic (
  request_id text primary key, content blob not null, embedding blob not null, surface blob not null,
  created_at real not null);
create table if not exists explored (
  request_id text primary key, day text not null, key_id text not null, pico integer not null) without rowid;
create table if not exists exploring (
  day text not null, key_id text not null, pico integer not null, primary key (day, key_id)) without rowid;
create table if not exists conversations (
  digest blob primary key, expert text not null, answered_at real not null) without rowid;
create table if not exists tallies (
  key_id text not null, day text not null, kind text not null, name text not null,
  answers integer not null, failed integer not null, cost_usd real not null, compared integer not null,
  success real not null, forecast_usd real not null, chosen_success real not null, chosen_usd real not null,
  paid_usd real not null, primary key (key_id, day, kind, name)) without rowid;
"""

NAMES = tuple(line.split()[5] for line in TABLES.splitlines() if line.startswith("create table"))

INDEXES = """
create index if not exists open_calls on calls (expires_at) where state = 'open';
create index if not exists closed_calls on calls (expires_at) where state <> 'open';
create index if not exists previous_secrets on keys (previous_hash) where previous_hash is not null;
create index if not exists waiting_alerts on alerts (next_at) where state = 'waiting';
create index if not exists owned_calls on calls (owner) where state = 'open';
"""

#: Columns that older ledgers lack.
ADDED = {
    "keys": (
        "paced_over integer",
        "max_experts_asked integer",
        "max_latency_s real",
        "record text",
        "explore_share real",
        "explore_usd_per_day real",
        "operator integer not null default 0",
        "team_id text",
        "expires_at real",
        "previous_hash text",
        "previous_until real",
        "rotations integer not null default 0",
        "models text",
        "dialects text",
        "networks text",
        "alert_at text",
        "admin integer not null default 0",
        "changes integer not null default 0",
    ),
    "spending": (
        "requests integer not null default 0",
        "disputed integer not null default 0",
        "forgotten_disputed integer not null default 0",
        "forgotten_spent integer not null default 0",
        "excused integer not null default 0",
    ),
    "calls": (
        "owner text not null default ''",
        "likely integer not null default 0",
        "disputed integer not null default 0",
        "extensions integer not null default 0",
        "teams text",
    ),
}
