"use strict";
(() => {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const shown = (value) => {
    if (Number.isInteger(value)) return value.toLocaleString("en");
    if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
    return value.toFixed(Math.abs(value) >= 100 ? 1 : Math.abs(value) >= 0.1 ? 2 : 4);
  };

  class SectionMap {
    constructor(root) {
      this.root = root;
      this.at = -1;
      for (const [name, where] of Object.entries({
        stage: ".hs-stage", canvas: ".hs-stage > canvas", edge: ".hs-edge", ring: ".hs-at", layer: ".hs-layer",
        opacity: ".hs-opacity", percent: ".hs-percent", spotsBox: ".hs-show-spots", edgeBox: ".hs-show-edge",
        bar: ".hs-colours", unit: ".hs-unit", says: ".hs-says", spot: ".hs-spot", none: ".hs-none",
      })) this[name] = root.querySelector(where);
      // All of a section is seen at once, with the controls beside it.
      const share = this.canvas.width / this.canvas.height;
      this.stage.style.maxWidth = `max(18rem, calc((100vh - 4.5rem) * ${share.toFixed(4)}))`;
      this.listen();
    }

    // Numbers are unpacked when the section is first looked at: a page may hold many.
    open() {
      if (this.data) return;
      this.data = JSON.parse(this.root.querySelector(".hs-data").textContent);
      const { frame, spots } = this.data;
      const um = new Float32Array(bytes(spots.xy_um).buffer);
      this.n = spots.ids.length;
      this.x = new Float64Array(this.n);
      this.y = new Float64Array(this.n);
      for (let i = 0; i < this.n; i++) {
        this.x[i] = (um[2 * i] - frame.origin_um[0]) / frame.um_per_pixel[0];
        this.y[i] = (um[2 * i + 1] - frame.origin_um[1]) / frame.um_per_pixel[1];
      }
      this.codes = this.data.layers.map(() => null);
      this.tables = {};
      for (const [kind, text] of Object.entries(this.data.colours)) this.tables[kind] = bytes(text);
      this.choose();
      this.root.dataset.drawn = "true";
    }

    listen() {
      this.layer.addEventListener("change", () => { this.open(); this.choose(); });
      this.opacity.addEventListener("input", () => { this.open(); this.draw(); });
      this.spotsBox.addEventListener("change", () => { this.open(); this.draw(); });
      this.edgeBox.addEventListener("change", () => this.showEdge());
      for (const radio of this.root.querySelectorAll(".hs-size")) {
        radio.addEventListener("change", () => { this.open(); this.draw(); this.mark(); });
      }
      this.stage.addEventListener("pointermove", (event) => this.point(event));
      this.stage.addEventListener("pointerdown", (event) => this.point(event));
      this.stage.addEventListener("keydown", (event) => this.key(event));
      for (const button of this.root.querySelectorAll(".hs-find")) {
        button.addEventListener("click", () => {
          this.open();
          this.go(this.data.spots.ids.indexOf(button.dataset.spot));
          this.stage.focus();
        });
      }
      this.root.querySelector(".hs-copy").addEventListener("click", () => this.copy());
      this.showEdge();
    }

    showEdge() {
      this.edge.setAttribute("visibility", this.edgeBox.checked ? "visible" : "hidden");
    }

    large() {
      return this.root.querySelector(".hs-size:checked").value === "large";
    }

    // Half the diameter or side, along x and y, in pixels of the picture.
    half() {
      const { frame, spots } = this.data;
      const um = (this.large() ? spots.pitch_um : spots.side_um) / 2;
      return [um / frame.um_per_pixel[0], um / frame.um_per_pixel[1]];
    }

    value(i) {
      if (!this.now) return NaN;
      const code = this.codes[this.place][i];
      return code === this.data.no_value ? NaN : this.now.base + this.now.step * code;
    }

    choose() {
      this.place = Number(this.layer.value);
      this.now = this.data.layers[this.place];
      if (this.now && !this.codes[this.place]) this.codes[this.place] = new Uint16Array(bytes(this.now.codes).buffer);
      this.legend();
      this.draw();
      this.tell();
    }

    legend() {
      const now = this.now;
      if (!now) return;
      const table = this.tables[now.kind];
      const pen = this.bar.getContext("2d");
      const row = pen.createImageData(256, 1);
      for (let i = 0; i < 256; i++) row.data.set([table[3 * i], table[3 * i + 1], table[3 * i + 2], 255], 4 * i);
      pen.putImageData(row, 0, 0);
      const below = now.least !== null && now.least < now.low;
      const above = now.most !== null && now.most > now.high;
      const ticks = this.root.querySelectorAll(".hs-ticks span");
      ticks[0].textContent = (below ? "\u2264 " : "") + shown(now.low);
      ticks[1].textContent = shown((now.low + now.high) / 2);
      ticks[2].textContent = (above ? "\u2265 " : "") + shown(now.high);
      this.unit.textContent = now.unit;
      const without = now.n_spots - now.n;
      this.none.lastElementChild.textContent = `no value: ${without.toLocaleString("en")} spots`;
      const spots = `${now.n.toLocaleString("en")} of ${now.n_spots.toLocaleString("en")} spots`;
      this.says.textContent = now.n
        ? `${now.name}: ${spots}, from ${shown(now.least)} to ${shown(now.most)}, median ${shown(now.median)}.`
        : `${now.name} is not measured: ${now.reason}.`;
    }

    // Which of the 256 colours a value has.
    colour(value) {
      const share = (value - this.now.low) / (this.now.high - this.now.low);
      return Math.round(255 * Math.min(1, Math.max(0, share)));
    }

    draw() {
      if (!this.data) return;
      const started = performance.now();
      const { frame } = this.data;
      const ratio = window.devicePixelRatio > 1 ? 2 : 1;
      this.canvas.width = frame.width_px * ratio;
      this.canvas.height = frame.height_px * ratio;
      this.percent.textContent = `${this.opacity.value} %`;
      const pen = this.canvas.getContext("2d");
      pen.scale(ratio, ratio);
      if (this.spotsBox.checked && this.now) this.paint(pen);
      this.root.dataset.drawMs = (performance.now() - started).toFixed(1);
    }

    // Spots of one colour are one path: a thousand of them cost little more than one.
    paint(pen) {
      const table = this.tables[this.now.kind];
      const codes = this.codes[this.place], none = this.data.no_value;
      const corners = this.corners();
      const paths = new Array(256);
      const empty = new Path2D();
      for (let i = 0; i < this.n; i++) {
        if (codes[i] === none) { this.shape(empty, i, corners); this.hatch(empty, i, corners); continue; }
        const at = this.colour(this.now.base + this.now.step * codes[i]);
        this.shape(paths[at] ||= new Path2D(), i, corners);
      }
      pen.globalAlpha = this.opacity.value / 100;
      paths.forEach((path, at) => {
        pen.fillStyle = `rgb(${table[3 * at]},${table[3 * at + 1]},${table[3 * at + 2]})`;
        pen.fill(path);
      });
      // Under the dark line a light one, for glass and for tissue.
      for (const [colour, width] of [["#fff", 2.4], ["#333", 1]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = width;
        pen.stroke(empty);
      }
    }

    // Half the axes of a circle, or the corners of a square from its middle, in pixels of the picture.
    corners() {
      const [a, b] = this.half();
      if (this.data.spots.shape === "circle") return { a, b };
      const turn = this.data.spots.turn_degrees * Math.PI / 180;
      const c = Math.cos(turn), s = Math.sin(turn);
      const ring = [[-1, -1], [1, -1], [1, 1], [-1, 1]];
      return { a, b, x: ring.map(([u, v]) => a * (u * c - v * s)), y: ring.map(([u, v]) => b * (u * s + v * c)) };
    }

    shape(path, i, { a, b, x: dx, y: dy }) {
      const x = this.x[i], y = this.y[i];
      if (!dx) {
        path.moveTo(x + a, y);
        path.ellipse(x, y, a, b, 0, 0, 2 * Math.PI);
        return;
      }
      path.moveTo(x + dx[0], y + dy[0]);
      for (let corner = 1; corner < 4; corner++) path.lineTo(x + dx[corner], y + dy[corner]);
      path.closePath();
    }

    hatch(path, i, { a, b }) {
      path.moveTo(this.x[i] - a * 0.7, this.y[i] + b * 0.7);
      path.lineTo(this.x[i] + a * 0.7, this.y[i] - b * 0.7);
    }

    // The spot nearest to a place, if it lies within reach.
    nearest(x, y, reach) {
      let found = -1, least = reach * reach;
      for (let i = 0; i < this.n; i++) {
        const d = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
        if (d < least) { least = d; found = i; }
      }
      return found;
    }

    point(event) {
      this.open();
      const box = this.canvas.getBoundingClientRect();
      const { frame, spots } = this.data;
      const x = (event.clientX - box.left) / box.width * frame.width_px;
      const y = (event.clientY - box.top) / box.height * frame.height_px;
      const found = this.nearest(x, y, spots.pitch_um * 0.6 / frame.um_per_pixel[0]);
      if (found >= 0 && found !== this.at) this.go(found);
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      this.open();
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (step) this.go(this.at < 0 ? this.middle() : this.next(...step));
      else if (event.key === "Home") this.go(0);
      else if (event.key === "End") this.go(this.n - 1);
      else if (event.key === "Escape") this.go(-1);
      else return;
      event.preventDefault();
    }

    middle() {
      const mean = (values) => values.reduce((sum, value) => sum + value, 0) / this.n;
      return this.nearest(mean(this.x), mean(this.y), Infinity);
    }

    // The nearest spot in a direction; what lies to the side counts as further away.
    next(u, v) {
      let found = this.at, least = Infinity;
      for (let i = 0; i < this.n; i++) {
        const x = this.x[i] - this.x[this.at], y = this.y[i] - this.y[this.at];
        const along = x * u + y * v, across = Math.abs(x * v) + Math.abs(y * u);
        if (along <= 1e-6 || across > 1.05 * along) continue;
        const cost = along * along + 4 * across * across;
        if (cost < least) { least = cost; found = i; }
      }
      return found;
    }

    go(i) {
      this.at = i < this.n ? i : -1;
      this.mark();
      this.tell();
    }

    mark() {
      if (!this.data) return;
      this.ring.setAttribute("visibility", this.at < 0 ? "hidden" : "visible");
      if (this.at < 0) return;
      for (const circle of this.ring.children) {
        circle.setAttribute("cx", this.x[this.at]);
        circle.setAttribute("cy", this.y[this.at]);
        circle.setAttribute("r", Math.max(...this.half()) + 6);
      }
    }

    tell() {
      if (this.at < 0) {
        this.spot.textContent = "Point at a spot, or focus the map and use the arrow keys.";
        delete this.root.dataset.spot;
        return;
      }
      const id = this.data.spots.ids[this.at];
      const said = [`Spot ${id}`];
      if (this.now) {
        const value = this.value(this.at);
        said.push(`${this.now.name} ${Number.isNaN(value) ? "no value" : `${shown(value)} (${this.now.unit})`}`);
      }
      this.spot.textContent = `${said.join(": ")}.`;
      this.root.dataset.spot = id;
    }

    async copy() {
      const text = this.root.querySelector(".hs-bib");
      const told = this.root.querySelector(".hs-copied");
      try {
        await navigator.clipboard.writeText(text.textContent);
        told.textContent = "Copied.";
      } catch {
        // From a file some browsers lend no clipboard: the text is selected, and the old way is tried.
        const range = document.createRange();
        range.selectNodeContents(text);
        const selection = getSelection();
        selection.removeAllRanges();
        selection.addRange(range);
        text.focus();
        told.textContent = document.execCommand("copy") ? "Copied." : "Selected: press Ctrl+C or Cmd+C.";
      }
    }
  }

  const maps = new Map();
  const watch = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (!isIntersecting) continue;
      watch.unobserve(target);
      maps.get(target).open();
    }
  }, { rootMargin: "200px" });
  for (const root of document.querySelectorAll("[data-section]")) {
    const map = new SectionMap(root);
    maps.set(map.stage, map);
    watch.observe(map.stage);
  }
})();
