// Charts beside what a page says in words: of a range of samples (div.plot), and of recall by setting (table.curve).
(() => {
  "use strict";
  const POINTS = 1440, HEIGHT = 180, EVERY = 60_000, DAY = 86_400;
  const known = new Map(); // by the id of the element: its chart, and how to draw it anew

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colours = () => [style("--link"), style("--warn"), style("--odd"), style("--good"), style("--bad"), style("--quiet")];

  const bytes = (value) => {
    if (value == null) return "–";
    let unit = 0;
    for (; Math.abs(value) >= 1024 && unit < 4; unit++) value /= 1024;
    return `${+value.toFixed(1)} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
  };
  const number = (value) => (value == null ? "–" : String(+value.toFixed(2)));
  const percent = (value) => (value == null ? "–" : `${+(value * 100).toFixed(1)}%`);
  const milliseconds = (value) => (value == null ? "–" : `${+(value * 1000).toPrecision(2)} ms`);

  const utc = (at) => `${new Date(at * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;
  const clock = (_chart, ticks, _axis, _space, step) => ticks.map((at) => utc(at).slice(11, step < 60 ? 19 : 16));
  const doubled = Array.from({ length: 51 }, (_, power) => 2 ** power); // steps of an axis of bytes

  const axis = (rest) => ({
    stroke: style("--quiet"), grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line"), width: 1 },
    font: "11px system-ui, sans-serif", ...rest,
  });

  function draw(id, host, data, options) {
    known.get(id)?.chart.destroy();
    const box = document.createElement("div");
    const chart = new uPlot({ width: Math.max(200, host.clientWidth), height: HEIGHT, ...options }, data, box);
    // the sentence or the table beside it says the same
    chart.root.querySelector("canvas").setAttribute("role", "img");
    chart.root.querySelector("canvas").setAttribute("aria-label", options.label);
    host.append(box);
    return { chart, box };
  }

  // --- ranges of samples -------------------------------------------------------------------------------------------

  async function series(host) {
    const end = Math.floor(Date.now() / 1000), seconds = Number(host.dataset.hours) * 3600;
    const step = Math.max(15, Math.round(seconds / POINTS));
    const asked = new URLSearchParams({ query: host.dataset.query, start: end - seconds, end, step });
    const answer = await fetch(`/api/v1/query_range?${asked}`, { credentials: "same-origin" });
    if (!answer.ok) throw new Error(`the samples cannot be read: ${answer.status}`);
    const found = (await answer.json()).data.result;
    const first = Math.min(...found.map((one) => one.values[0][0])), times = [];
    for (let at = end - seconds; at <= end; at += step) if (at >= first) times.push(at);
    const place = new Map(times.map((at, index) => [at, index]));
    const rows = found.map((one) => {
      const row = new Array(times.length).fill(null);
      for (const [at, value] of one.values) if (place.has(at)) row[place.get(at)] = Number(value);
      return { title: host.dataset.by ? one.metric[host.dataset.by] ?? "" : host.dataset.title, row };
    });
    return { times, rows };
  }

  // Where the line goes that the disk is filled by: half as long again as what was seen, a day at most.
  function foretell(times, rows, full) {
    const last = times.length - 1, now = times[last], value = rows[0]?.row[last];
    if (!full || value == null || last < 1) return null;
    const step = times[1] - times[0], until = Math.min(now + (now - times[0]) / 2, now + full, now + DAY);
    const row = new Array(last).fill(null).concat(value);
    for (let at = now + step; at <= until; at += step) {
      times.push(at);
      row.push(Math.max(0, value * (1 - (at - now) / full)));
      rows[0].row.push(null);
    }
    return { title: "if it goes on so", row, dash: [4, 4] };
  }

  async function range(host) {
    const { times, rows } = await series(host);
    if (times.length < 2) {
      host.dataset.empty = "yes";
      return;
    }
    delete host.dataset.empty;
    const ahead = foretell(times, rows, Number(host.dataset.full || 0));
    const shown = ahead ? [...rows, ahead] : rows, tell = host.dataset.unit === "bytes" ? bytes : number;
    if (host.dataset.limit) {
      const limit = Number(host.dataset.limit);
      shown.push({ title: host.dataset.limitTitle, row: times.map(() => limit), dash: [2, 3], colour: style("--bad") });
    }
    const colour = colours();
    const made = draw(host.id, host, [times, ...shown.map((one) => one.row)], {
      label: `${host.dataset.title}, the last ${host.dataset.hours} hours`,
      scales: { y: { range: (_chart, least, most) => [Math.min(0, least ?? 0), (most || 1) * 1.1] } },
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      axes: [
        axis({ values: clock, space: 70 }),
        axis({ size: 70, values: (_chart, ticks) => ticks.map(tell), ...(tell === bytes && { incrs: doubled }) }),
      ],
      series: [
        { value: (_chart, at) => (at == null ? "–" : utc(at)), label: "at" },
        ...shown.map((one, index) => ({
          label: one.title, dash: one.dash, width: 1.5, points: { show: false }, spanGaps: false,
          stroke: one.colour ?? colour[index % colour.length], value: (_chart, value) => tell(value),
        })),
      ],
    });
    known.set(host.id, { ...made, again: range });
  }

  // --- recall by setting -------------------------------------------------------------------------------------------

  function curve(table) {
    const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => (cell.dataset.value ? Number(cell.dataset.value) : null)));
    const data = [0, 1, 2].map((column) => rows.map((row) => row[column]));
    const colour = colours(), setting = table.dataset.setting, wanted = table.dataset.wanted;
    const lines = [
      { label: "recall", scale: "y", stroke: colour[0], value: (_chart, value) => percent(value) },
      { label: "a search", scale: "time", stroke: colour[1], dash: [4, 3], value: (_chart, value) => milliseconds(value) },
    ];
    if (wanted) {
      data.push(rows.map(() => Number(wanted)));
      lines.push({ label: "wanted", scale: "y", stroke: style("--bad"), dash: [2, 3], points: { show: false }, value: (_chart, value) => percent(value) });
    }
    const least = Math.min(...data[1], Number(wanted || 1));
    // beside the table, not in it: what the table scrolls is its own
    const host = table.closest(".scroll").parentElement;
    const made = draw(table.id, host, data, {
      label: `Recall and time of a search by ${setting}`,
      scales: { x: { time: false, distr: 3 }, y: { range: () => [Math.max(0, least - 0.05), 1.01] }, time: { range: (_chart, _least, most) => [0, (most || 1) * 1.2] } },
      axes: [
        axis({ grid: { show: false }, values: (_chart, ticks) => ticks.map((tick) => (tick == null ? "" : String(tick))) }),
        axis({ size: 55, values: (_chart, ticks) => ticks.map(percent) }),
        axis({ side: 1, scale: "time", size: 60, grid: { show: false }, values: (_chart, ticks) => ticks.map(milliseconds) }),
      ],
      series: [{ label: setting, value: (_chart, value) => (value == null ? "–" : String(value)) }, ...lines.map((one) => ({ width: 1.5, ...one }))],
    });
    known.set(table.id, { ...made, again: curve, host });
  }

  // --- when they are drawn -----------------------------------------------------------------------------------------

  const wanted = () => [...document.querySelectorAll("div.plot[id]"), ...document.querySelectorAll("table.curve[id]")];

  async function drawAll() {
    for (const one of wanted()) {
      try {
        await (one.matches("table") ? curve(one) : range(one));
      } catch (error) {
        if (!known.has(one.id)) one.dataset.empty = "yes";
      }
    }
  }

  // A section that was fetched anew has lost its charts: they are put back as they were.
  function putBack() {
    for (const one of wanted()) {
      const drawn = known.get(one.id);
      const host = one.matches("table") ? one.closest(".scroll").parentElement : one;
      if (!drawn) drawAll();
      else if (drawn.box.parentElement !== host) host.append(drawn.box);
    }
  }

  let resizing;
  addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(drawAll, 200); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  document.addEventListener("htmx:afterSettle", putBack);
  setInterval(() => { if (document.visibilityState === "visible") drawAll(); }, EVERY);
  drawAll();
})();
