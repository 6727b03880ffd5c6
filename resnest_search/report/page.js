"use strict";
// Filters, marks, sorting and zoom of the page. Every chart's points carry the place of their trial.
const NARROW = 560; // pixels, below which a chart keeps what it needs alone
const QUIET = 5; // minutes without a drawing, from which on that is said
const COLORS = { "#1f2428": "--ink", "#5f666d": "--muted", "#e3e6e8": "--grid", "#0072b1": "--front", "#c04d00": "--accent" };
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (selector, root = document) => root.querySelector(selector);
const rows = all("tr[data-trial]");
const nameOf = Object.fromEntries(rows.map((row) => [row.dataset.trial, row.dataset.name]));
const dark = matchMedia("(prefers-color-scheme: dark)");

// What the reader chose, kept over the reloads of a sweep under way.
const KEY = "resnest-search " + location.pathname;
const chosen = { without: [], marked: [], columns: [], zoom: {}, kept: {}, sorted: null };
try { Object.assign(chosen, JSON.parse(sessionStorage.getItem(KEY))); } catch { /* a browser that keeps nothing */ }
const keyOf = Object.fromEntries(rows.map(({ dataset }) => [dataset.trial, dataset.key ?? dataset.trial]));
const keep = () => {
  const marked = chosen.marked.map((trial) => keyOf[trial]);
  try { sessionStorage.setItem(KEY, JSON.stringify({ ...chosen, marked })); } catch { /* as above */ }
};
const headsOf = (table) => [...table.tHead.rows[0].cells].map((head) => head.textContent.trim());
const within = (value, range) => [].concat(Array.isArray(range[0]) ? range : [range]).some(([low, high]) => value >= low && value <= high);
// of parallel axes: who crosses them where they are brushed
const crossing = (owners, dimensions, ranges) => owners.filter((_, at) => dimensions.every(({ values, label }) => !ranges[label] || within(values[at], ranges[label])));
chosen.marked = rows.map(({ dataset }) => dataset.trial).filter((trial) => chosen.marked.includes(keyOf[trial]));
const filtered = ({ dataset: { state, radix } }) => chosen.without.includes("state " + state) || chosen.without.includes("radix " + radix);
const toggle = (list, item) => { const at = list.indexOf(item); at < 0 ? list.push(item) : list.splice(at, 1); };

let shown = new Set();
let marked = new Set();
const charts = [];

function refresh() {
  const kept = Object.values(chosen.kept);
  shown = new Set();
  for (const row of rows) {
    const { trial } = row.dataset;
    row.hidden = filtered(row) || kept.some((list) => !list.includes(+trial));
    if (!row.hidden) shown.add(+trial);
    const on = chosen.marked.includes(trial);
    row.classList.toggle("marked", on);
    one("button.mark", row)?.setAttribute("aria-pressed", on);
  }
  marked = new Set(chosen.marked.map(Number));
  const said = one("#said");
  if (said) {
    const few = shown.size < rows.length ? `${shown.size} of ${rows.length} trials. ` : "";
    const names = chosen.marked.filter((trial) => trial in nameOf).map((trial) => nameOf[trial]);
    said.textContent = few + (names.length ? "Marked: " + names.join(", ") + "." : "");
    one("#clear").hidden = !few && !names.length;
  }
  for (const input of all("#filters input")) input.checked = !chosen.without.includes(input.value);
  for (const chart of charts) chart.draw();
  keep();
}

function mark(trial) {
  if (!(trial in nameOf)) return; // in a comparison: a candidate that not all have
  toggle(chosen.marked, String(trial));
  refresh();
}

class Chart {
  constructor(box) {
    this.box = box;
    this.text = one("script", box.parentElement).textContent;
    this.seen = this.drawn = false;
    this.lines = this.text.includes('"type":"parcoords"');
    const { data, layout } = JSON.parse(this.text);
    this.own = layout;
    box.style.minHeight = layout.height + "px";
    const ranges = this.lines && chosen.zoom[box.id];
    if (ranges) chosen.kept[box.id] = crossing(data[0].customdata, data[0].dimensions, ranges); // new ones, too
  }
  draw(now = false) {
    this.old = true;
    if ((!this.seen && !now) || this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = this.old = false; this.paint(); });
  }
  paint() {
    const style = getComputedStyle(document.documentElement);
    const text = this.text.replace(/#[0-9a-f]{6}/g, (color) => COLORS[color] ? style.getPropertyValue(COLORS[color]).trim() : color);
    const { data, layout } = JSON.parse(text);
    const narrow = this.box.clientWidth < NARROW;
    if (narrow) this.squeeze(layout);
    if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false; // a finger scrolls the page
    layout.uirevision = "kept";
    layout.hoverlabel = { ...layout.hoverlabel, bgcolor: style.getPropertyValue("--paper").trim(), font: { color: style.getPropertyValue("--ink").trim() } };
    Object.entries(this.drawn ? {} : chosen.zoom[this.box.id] ?? {}).forEach(([axis, range]) => { if (layout[axis]) layout[axis].range = range; });
    const traces = data.filter((trace) => !(narrow && trace.xaxis === "x2"));
    const painted = this.lines ? traces.map((trace) => this.across(trace)) : this.along(traces, style);
    const buttons = ["select2d", "lasso2d", "autoScale2d", "toImage"];
    Plotly.react(this.box, painted, layout, { responsive: true, displaylogo: false, modeBarButtonsToRemove: buttons });
    if (this.drawn) return;
    this.drawn = true;
    this.box.on("plotly_click", ({ points }) => { if (points[0].customdata != null) mark(points[0].customdata); });
    this.box.on("plotly_relayout", (change) => this.zoomed(change));
    if (this.lines) this.box.on("plotly_restyle", () => this.brushed());
  }
  squeeze(layout) {
    layout.annotations = (layout.annotations ?? []).filter(({ text }) => text.startsWith("<b>"));
    layout.legend = { ...layout.legend, font: { size: 11 } };
    if (layout.xaxis2) { delete layout.xaxis2; layout.xaxis.domain = [0, 1]; }
  }
  along(traces, style) {
    const marks = [];
    const color = style.getPropertyValue("--mark").trim();
    for (const trace of traces) {
      const owners = trace.customdata;
      if (!owners) continue;
      const [x, y, who] = [[], [], []];
      owners.forEach((owner, at) => {
        if (!marked.has(owner)) return;
        const gap = who.length && who.at(-1) !== owner;
        if (gap) { x.push(null); y.push(null); who.push(null); }
        x.push(trace.x[at]); y.push(trace.y[at]); who.push(owner);
      });
      if (x.length) {
        const points = trace.mode === "markers";
        marks.push({
          x, y, xaxis: trace.xaxis, mode: points ? "markers+text" : trace.mode, hoverinfo: "skip", showlegend: false,
          text: points ? who.map((owner) => (nameOf[owner] ?? "").replaceAll("<", "&lt;")) : undefined, textposition: "top center", textfont: { color },
          marker: { color, size: points ? 15 : 6, symbol: points ? "circle-open" : "circle", line: { width: 2.5, color } },
          line: { color, width: 3, shape: trace.line?.shape },
        });
      }
      // a point that is left out leaves a gap, so that sizes and names stay with their points
      trace.x = trace.x.map((value, at) => (owners[at] == null || owners[at] < 0 || shown.has(owners[at]) ? value : null));
    }
    return [...traces, ...marks];
  }
  across(trace) {
    const wanted = new Set(rows.filter((row) => !filtered(row)).map((row) => +row.dataset.trial));
    const left = [...trace.customdata.keys()].filter((at) => !chosen.without.length || wanted.has(trace.customdata[at]));
    this.owners = left.map((at) => trace.customdata[at]);
    const ranges = chosen.zoom[this.box.id] ?? {};
    trace.dimensions.forEach((dimension, number) => {
      dimension.values = left.map((at) => dimension.values[at]);
      const range = this.box.data ? this.box.data[0].dimensions[number].constraintrange : ranges[dimension.label];
      if (range) dimension.constraintrange = range;
    });
    trace.line.color = left.map((at) => (marked.has(trace.customdata[at]) ? 2 : trace.line.color[at]));
    const mine = getComputedStyle(document.documentElement).getPropertyValue("--mark").trim();
    trace.line.colorscale = [...trace.line.colorscale.map(([at, color]) => [at / 2, color]), [1, mine]];
    trace.line.cmax = 2;
    return trace;
  }
  brushed() {
    const dimensions = this.box.data[0].dimensions;
    const ranges = Object.fromEntries(dimensions.filter((one) => one.constraintrange).map((one) => [one.label, one.constraintrange]));
    delete chosen.kept[this.box.id];
    delete chosen.zoom[this.box.id];
    if (Object.keys(ranges).length) {
      chosen.kept[this.box.id] = crossing(this.owners, dimensions, ranges);
      chosen.zoom[this.box.id] = ranges;
    }
    refresh();
  }
  zoomed(change) {
    if (this.lines) return;
    // what the reader did not zoom goes on with the sweep
    const zoom = { ...chosen.zoom[this.box.id] };
    for (const name of new Set(Object.keys(change).map((key) => key.split(".")[0]).filter((key) => /^[xy]axis/.test(key)))) {
      const { autorange, range } = this.box.layout[name];
      delete zoom[name];
      if (autorange !== true && range && String(range) !== String(this.own[name]?.range)) zoom[name] = range;
    }
    chosen.zoom[this.box.id] = zoom;
    keep();
  }
}

function sort(table, number, up) {
  const head = table.tHead.rows[0].cells[number];
  for (const other of all("th", table)) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const value = (row) => row.cells[number].dataset.value;
  const compare = (first, second) => {
    const [a, b] = [value(first), value(second)];
    if (a === "" || b === "") return (a === "") - (b === ""); // what is unknown stays last
    const order = isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
    return up ? order : -order;
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
}

function hideColumns() {
  const hidden = headsOf(one("table.sortable")).flatMap((head, at) => (chosen.columns.includes(head) ? [at + 1] : []));
  one("#columns-style").textContent = hidden.map((number) => `.sortable tr > :nth-child(${number}) { display: none; }`).join("\n");
  for (const input of all("#columns input")) input.checked = !chosen.columns.includes(input.value);
}

function csv(table) {
  const names = headsOf(table);
  const left = names.map((_, at) => at).filter((at) => !chosen.columns.includes(names[at]));
  const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
  const cell = (td) => quoted(td.classList.contains("number") ? td.dataset.value : td.textContent.trim());
  const lines = [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => left.map((at) => cell(row.cells[at])).join(","));
  // values as recorded, under recorded names: a head such as "acc %" has another unit
  const heads = left.map((at) => quoted(table.tHead.rows[0].cells[at].dataset.key)).join(",");
  return [heads, ...lines].join("\r\n") + "\r\n";
}

function save(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

// Where the reader is: what scrolled by itself, what is open, and where the keyboard is.
const stops = () => all("button, input, summary, [tabindex='0']").filter((stop) => !stop.closest("tbody"));
function leave() {
  const row = document.activeElement.closest("tr[data-trial]");
  chosen.view = {
    scroll: all(".scroll").map((box) => [box.scrollLeft, box.scrollTop]),
    open: all("details").map((details) => details.open),
    row: row && keyOf[row.dataset.trial],
    stop: stops().indexOf(document.activeElement),
  };
  keep();
  location.reload();
}
function arrive() {
  if (!chosen.view) return;
  const { scroll, open, row, stop } = chosen.view;
  delete chosen.view;
  keep();
  all("details").forEach((details, at) => { details.open = open[at] ?? false; });
  const at = row ? one("button.mark", rows.find(({ dataset }) => keyOf[dataset.trial] === row)) : stops()[stop];
  at?.focus({ preventScroll: true });
  all(".scroll").forEach((box, at) => box.scrollTo(...(scroll[at] ?? [0, 0])));
}

async function library() {
  const packed = await fetch("data:application/gzip;base64," + one("#plotly").textContent);
  const plain = await new Response(packed.body.pipeThrough(new DecompressionStream("gzip"))).blob();
  const script = document.createElement("script");
  script.src = URL.createObjectURL(new Blob([plain], { type: "text/javascript" }));
  await new Promise((resolve, reject) => { script.onload = resolve; script.onerror = reject; document.head.append(script); });
  URL.revokeObjectURL(script.src);
}

function instead(box, text) {
  const note = document.createElement("p");
  note.className = "note";
  note.textContent = text + " The same numbers stand in the table.";
  box.replaceWith(note);
}

async function begin() {
  document.addEventListener("click", ({ target }) => {
    const row = target.closest("tr[data-trial]");
    if (row && getSelection().isCollapsed) mark(row.dataset.trial);
  });
  for (const table of all("table.sortable")) {
    table.tHead.addEventListener("click", (event) => {
      const head = event.target.closest("th");
      if (!head) return;
      const up = head.getAttribute("aria-sort") !== "ascending";
      chosen.sorted = [head.textContent.trim(), up];
      sort(table, head.cellIndex, up);
      keep();
    });
    const at = chosen.sorted ? headsOf(table).indexOf(chosen.sorted[0]) : -1;
    if (at >= 0) sort(table, at, chosen.sorted[1]);
    one("#csv").addEventListener("click", () => save(csv(table), "shown.csv"));
    one("#columns").addEventListener("change", ({ target }) => { toggle(chosen.columns, target.value); hideColumns(); keep(); });
    hideColumns();
  }
  one("#filters")?.addEventListener("change", ({ target }) => { toggle(chosen.without, target.value); refresh(); });
  one("#clear")?.addEventListener("click", () => {
    Object.assign(chosen, { without: [], marked: [], kept: {} });
    for (const { box, lines } of charts) if (lines) { box.data?.[0].dimensions.forEach((dimension) => delete dimension.constraintrange); delete chosen.zoom[box.id]; }
    refresh();
  });
  const wait = Number(document.body.dataset.live);
  const live = one(".live");
  const quiet = live ? Math.floor((Date.now() / 1000 - live.dataset.drawn) / 60) : 0;
  if (quiet >= QUIET) { // a driver that was killed leaves its last page
    const time = quiet < 120 ? `${quiet} min` : `${Math.floor(quiet / 60)} h`;
    live.textContent += ` Nothing new for ${time}: an epoch takes as long, or the sweep was killed. "python -m resnest_search list" says which.`;
  }
  // not while somebody looks elsewhere, and not while a chart is dragged
  if (wait) setInterval(() => { if (!document.hidden && !one(".dragcover, :active:not(html, body)")) leave(); }, 1000 * wait);

  const boxes = all(".chart");
  refresh();
  arrive();
  if (!boxes.length) return;
  try { await library(); } catch { boxes.forEach((box) => instead(box, "This browser cannot unpack the library that draws this.")); return; }
  const canvas = document.createElement("canvas");
  const lines = canvas.getContext("webgl2") || canvas.getContext("webgl");
  const watch = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
    const chart = charts.find(({ box }) => box === target);
    chart.seen = isIntersecting;
    if (isIntersecting && (chart.old || !chart.drawn)) chart.draw();
  }), { rootMargin: "400px" });
  for (const box of boxes) {
    const chart = new Chart(box);
    if (chart.lines && !lines) { instead(box, "These lines need WebGL, which this browser does not offer."); continue; }
    charts.push(chart);
    watch.observe(box);
    one("button.png", box.parentElement).addEventListener("click", () => Plotly.downloadImage(box, { format: "png", filename: box.dataset.title, width: 1100, height: 620, scale: 2 }));
  }
  if (charts.some(({ lines }) => lines)) refresh(); // who crosses now what was brushed before
  dark.addEventListener("change", () => charts.forEach((chart) => chart.draw()));
  addEventListener("beforeprint", () => charts.forEach((chart) => { if (!chart.drawn) chart.paint(); }));
}
begin();
