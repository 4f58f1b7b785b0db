// What a page gains from a script: local times, ticking spans, copying, announcements, the picture of the last hour.
// Every page works without this file. The trap: fragments are swapped at any time, so elements are looked up when used.
"use strict";
(() => {
  const root = document.documentElement;
  const korean = root.lang === "ko";
  const skewS = Date.now() / 1000 - Number(document.body.dataset.now);
  const nowS = () => Date.now() / 1000 - skewS;
  root.classList.add("js");

  // The same as dure.core.wording.duration, from one second on.
  function span(seconds) {
    const units = korean ? ["일", "시간", "분", "초"] : [" d", " h", " min", " s"];
    const whole = Math.max(0, Math.round(seconds));
    const amounts = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60, whole % 60];
    const first = amounts.findIndex(Boolean);
    if (first < 0) return "0" + units[3];
    return amounts.map((n, i) => (i >= first && i < first + 2 && n ? n + units[i] : "")).filter(Boolean).join(" ");
  }

  function tick() {
    for (const element of document.querySelectorAll("[data-since]")) {
      const text = span(nowS() - Number(element.dataset.since));
      if (element.textContent !== text) element.textContent = text;
    }
  }

  // The server shows calendars and forms in this zone from then on; a page that it showed in another one comes again.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const kept = `dure-zone=${zone}`;
  const known = () => document.cookie.split("; ").includes(kept);
  if (!known()) {
    document.cookie = `${kept}; path=${document.body.dataset.base}/; max-age=31536000; SameSite=Lax`;
    const shown = document.querySelector("[data-zone]");
    if (known() && shown && shown.dataset.zone !== zone && !document.querySelector("[role=alert]")) location.reload();
  }

  const MOMENT = /\b\d{4}-\d\d-\d\dT\d\d:\d\dZ(?![A-Za-z0-9])/g; // as the control plane's sentences have it (dure/amounts.py)
  // Swedish dates are those of the command line: 2026-11-22 23:10, in every language.
  const today = new Intl.DateTimeFormat("sv", { timeStyle: "medium", hourCycle: "h23" });
  const other = new Intl.DateTimeFormat("sv", { dateStyle: "short", timeStyle: "medium", hourCycle: "h23" });
  const minute = new Intl.DateTimeFormat("sv", { timeStyle: "short", hourCycle: "h23" });
  const minuteOfDay = new Intl.DateTimeFormat("sv", { dateStyle: "short", timeStyle: "short", hourCycle: "h23" });
  function written(at, exact) {
    const recent = at.toDateString() === new Date().toDateString();
    if (exact) return (recent ? today : other).format(at);
    return (recent ? minute : minuteOfDay).format(at);
  }
  function localTimes() {
    for (const element of document.querySelectorAll("time[data-at], time[data-minute]")) {
      const exact = element.dataset.at !== undefined;
      const at = new Date(Number(exact ? element.dataset.at : element.dataset.minute) * 1000);
      const text = written(at, exact);
      if (element.textContent !== text) element.textContent = text;
      element.title = at.toString();
    }
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      // Without the right to the clipboard (plain http from another machine), selecting is the next best thing.
      getSelection().selectAllChildren(source);
      return;
    }
    button.textContent = button.dataset.done;
    announce(button.dataset.done);
  });

  function announce(text) {
    document.getElementById("announce").textContent = text;
  }

  const stream = document.getElementById("stream");
  if (stream) {
    const state = document.getElementById("stream-state");
    const show = (live) => {
      state.hidden = false;
      state.classList.toggle("is-paused", !live);
      state.textContent = live ? state.dataset.live : state.dataset.paused;
    };
    stream.addEventListener("dure:open", () => show(true));
    stream.addEventListener("htmx:sse:error", () => show(false));
    stream.addEventListener("htmx:sse:close", () => show(false));
    stream.addEventListener("dure:mine", (event) => announce(JSON.parse(event.detail.data).text.replace(MOMENT, (at) => written(new Date(at), false))));
  }

  const usage = document.getElementById("usage");
  let plot = null;
  let asking = false;
  async function draw() {
    if (!usage || !window.uPlot || asking) return;
    asking = true;
    try {
      const response = await fetch(usage.dataset.src);
      if (!response.ok) return;
      const data = await response.json();
      if (plot) plot.setData(data);
      else plot = picture(data);
    } catch {
      return; // no answer now; the next change asks again
    } finally {
      asking = false;
    }
  }

  function picture(data) {
    const place = usage.querySelector(".plot");
    const colour = (name) => getComputedStyle(usage.querySelector(name), "::before").backgroundColor;
    const soft = getComputedStyle(usage.querySelector("figcaption")).color;
    const stepped = uPlot.paths.stepped({ align: 1 });
    const most = (low, high) => [0, Math.max(2, Math.ceil(high))];
    const axis = (scale, side, name) => ({
      scale, side, stroke: () => colour(name), size: 34, grid: { show: false }, ticks: { show: false }, gap: 3,
      font: "11px system-ui", splits: (self, axisIndex, low, high) => [low, high],
    });
    const clock = new Intl.DateTimeFormat(root.lang, { hour: "2-digit", minute: "2-digit", hour12: false });
    return new uPlot({
      width: place.clientWidth, height: place.clientHeight, legend: { show: false }, cursor: { show: false },
      scales: {
        x: { time: true, range: (self, low, high) => [high - 3600, high] },
        gpus: { range: () => [0, Math.max(1, Number(usage.dataset.total))] },
        waiting: { range: (self, low, high) => most(low, high) },
      },
      series: [
        {},
        { scale: "gpus", stroke: () => colour(".key-gpus"), width: 2, paths: stepped, points: { show: false } },
        { scale: "waiting", stroke: () => colour(".key-waiting"), width: 2, dash: [5, 3], paths: stepped, points: { show: false } },
      ],
      axes: [
        { stroke: () => soft, grid: { show: false }, ticks: { show: false }, size: 18, gap: 2, font: "11px system-ui",
          values: (self, splits) => splits.map((at) => clock.format(at * 1000)) },
        axis("gpus", 3, ".key-gpus"), axis("waiting", 1, ".key-waiting"),
      ],
    }, data, place);
  }

  function fresh() {
    localTimes();
    tick();
  }

  document.addEventListener("htmx:after:swap", fresh);
  if (stream && usage) {
    let due = 0;
    stream.addEventListener("dure:queue", () => {
      clearTimeout(due);
      due = setTimeout(draw, 500);
    });
  }
  if (usage) {
    addEventListener("resize", () => {
      const place = usage.querySelector(".plot");
      if (plot) plot.setSize({ width: place.clientWidth, height: place.clientHeight });
    });
    setInterval(() => document.hidden || draw(), 30000);
    draw();
  }
  setInterval(() => document.hidden || tick(), 1000);
  fresh();
})();
