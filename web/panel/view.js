// The panel of one node: it draws what the store knows of it.
import { app } from "../../../scripts/app.js";
import * as actions from "./actions.js";
import { Board } from "./board.js";
import { drawCurve } from "./curve.js";
import { openDialog, redrawDialog } from "./dialog.js";
import { duration, el, number, plural, setText, show, signed } from "./dom.js";
import { isLinked, widgetOf } from "../widgets.js";

const MORE = 8;

export class View {
  // node: a search node. onContent: called when there is something to show for the first time.
  constructor(node, onContent) {
    this.node = node;
    this.onContent = onContent;
    this.entry = null;
    this.sample = 0;
    this.judge = null;
    this.stops = 0;
    this.does = {
      open: (candidate) => openDialog(this, candidate),
      use: (candidate) => this.use(candidate),
      more: (candidate) => this.around(candidate),
      copy: (candidate) => this.copy(candidate),
      reject: (candidate) => this.reject(candidate),
    };
    this.build();
    this.draw();
  }

  // -- elements -----------------------------------------------------------------------------------------------------

  build() {
    this.title = el("strong", { class: "nsp-title" });
    this.time = el("span", { class: "nsp-time" });
    this.fill = el("div", {});
    this.bar = el("div", { class: "nsp-bar", role: "progressbar", "aria-label": "Spent of the budget", "aria-valuemin": 0, "aria-valuemax": 100 }, this.fill);
    this.cost = el("span", { class: "nsp-cost" });
    this.stopButton = el("button", { type: "button", class: "nsp-stop", onclick: () => this.stop() });
    this.samples = el("div", { class: "nsp-samples", role: "group", "aria-label": "Sample of the batch" });
    this.board = new Board(this.does);
    this.judges = el("select", { class: "nsp-judges", "aria-label": "Whose scores the curve shows", onchange: () => this.pickJudge() });
    this.curve = el("div");
    this.legend = el("div", { class: "nsp-legend" });
    this.forecast = el("span", { class: "nsp-forecast" });
    this.moreButton = el("button", { type: "button", title: "Raises candidates and queues; the journal pays for those that are there", onclick: () => this.run(actions.searchMore(this.node, this.more)) });
    this.again = el("button", { type: "button", text: "Search again", title: "Clears the pick, so that the node searches the next time", onclick: () => this.searchAgain() });
    this.rejected = el("button", { type: "button", class: "nsp-quiet", onclick: () => this.takeBack() });
    this.why = el("p", { class: "nsp-why" });
    this.warning = el("p", { class: "nsp-warning", role: "alert" });
    this.read = el("p", { class: "nsp-read" });
    this.notes = el("details", { class: "nsp-notes" }, el("summary", {}), el("ul", {}));
    this.said = el("p", { class: "nsp-said", role: "status" });
    this.under = el("div", { class: "nsp-line" }, this.cost, this.stopButton);
    this.head = el("header", { class: "nsp-head" }, el("div", { class: "nsp-line" }, this.title, this.time), this.bar, this.under);
    this.body = el(
      "div",
      { class: "nsp-body" },
      this.samples,
      this.warning,
      this.why,
      el("div", { class: "nsp-scroll" }, this.board.element),
      el("div", { class: "nsp-plot" }, this.curve, el("div", { class: "nsp-line" }, this.legend, this.judges)),
      el("div", { class: "nsp-foot" }, this.forecast, this.moreButton, this.again, this.rejected),
      this.read,
      this.notes,
    );
    this.element = el("section", { class: "nsp", "aria-label": "Search panel" }, this.head, this.body, this.said);
    this.element.addEventListener("pointerdown", (event) => {
      if (event.target.closest("button, select, summary, circle")) event.stopPropagation();
    });
    this.element.addEventListener("keydown", (event) => {
      if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation(); // or Delete takes the node away
    });
    this.element.addEventListener("wheel", (event) => this.wheel(event), { passive: true });
    new ResizeObserver(() => this.drawCurve()).observe(this.curve);
  }

  // Zooming goes on over the panel, unless there is something to scroll.
  wheel(event) {
    if (window.LiteGraph?.vueNodesMode) return;
    const place = event.target.closest(".nsp-scroll") ?? this.body;
    const scrolls = place.scrollHeight > place.clientHeight + 1;
    if (!scrolls || event.ctrlKey) app.canvas.processMouseWheel?.(event);
  }

  // -- what is shown ------------------------------------------------------------------------------------------------

  get state() {
    return this.entry?.search ?? this.entry?.picked ?? null;
  }

  get search() {
    return this.state?.searches[this.sample] ?? this.state?.searches[0] ?? null;
  }

  get candidates() {
    return (this.search?.board ?? []).filter((one) => !actions.isRejected(this.node, one));
  }

  get hidden() {
    return (this.search?.board ?? []).filter((one) => actions.isRejected(this.node, one));
  }

  get more() {
    return this.search?.forecast?.more ?? MORE;
  }

  get running() {
    return Boolean(this.state && this.state.phase !== "done" && !this.entry.ended);
  }

  marks() {
    const yours = this.state.awaiting || this.entry.picked;
    return { picked: this.pickedId, chosen: this.running ? null : this.search.chosen, word: yours ? "judge's pick" : "chosen" };
  }

  // The id of the candidate that was picked, as far as it is on the board.
  get pickedId() {
    const recipe = this.entry?.picked?.searches[this.sample]?.board[0]?.recipe;
    return this.search?.board.find((one) => recipe && sameRecipe(one.recipe, recipe))?.id ?? null;
  }

  show(entry) {
    const before = this.state;
    if (before?.prompt !== (entry?.search ?? entry?.picked)?.prompt) {
      this.stops = 0;
      setText(this.said, "");
    }
    this.entry = entry;
    if (this.sample >= (this.state?.searches.length ?? 1)) this.sample = 0;
    this.draw();
    if (this.state && !before) this.onContent();
  }

  draw() {
    const { state, search } = this;
    this.element.classList.toggle("nsp-blank", !search);
    show(this.body, Boolean(search));
    this.drawHead();
    if (!search) return;
    this.drawSamples();
    this.board.draw(this.candidates, state, this.marks());
    setText(this.why, this.running ? "" : search.why);
    setText(this.warning, search.warning ?? "");
    this.drawJudges();
    this.drawCurve();
    this.drawFoot();
    setText(this.read, state.read ? `Judged by: ${state.read}` : "");
    this.drawNotes();
    redrawDialog(this);
  }

  drawHead() {
    const { state, search } = this;
    setText(this.title, this.heading());
    const left = this.running ? this.left() : null;
    const over = search?.spent && !this.running ? `${duration(total(state, "seconds"))} · ${total(state, "nfe")} NFE` : "";
    setText(this.time, left === null ? over : `about ${duration(left)} left`);
    show(this.bar, this.running);
    show(this.under, this.running);
    const spent = search ? total(state, "nfe") : 0;
    const budget = search?.budget ? state.searches.reduce((sum, one) => sum + (one.budget?.nfe ?? 0), 0) : 0;
    const share = budget ? Math.min(100, (100 * spent) / budget) : 0;
    this.fill.style.width = `${share}%`;
    this.bar.setAttribute("aria-valuenow", Math.round(share));
    setText(this.cost, this.running ? `${spent} of ${budget} NFE · ${duration(total(state, "seconds"))}` : "");
    show(this.stopButton, this.running && Boolean(state.run) && !state.picked);
    setText(this.stopButton, ["Stop and keep best", "Stopping…", "Stopping at once…"][Math.min(this.stops, 2)]);
    this.stopButton.title = this.stops ? "Again: skips the last rendering" : "The best so far is kept and goes on";
    this.stopButton.disabled = this.stops > 1;
    this.head.classList.toggle("nsp-yours", Boolean(state?.awaiting) && !this.entry.picked);
  }

  heading() {
    const { state, search, entry } = this;
    if (!search) return "Press Run, and the candidates appear here";
    if (entry.ended) return entry.ended === "cancelled" ? "Cancelled. Queue again: what is paid stays paid" : "Failed. ComfyUI says why";
    if (entry.picked) return entry.picked.phase === "done" ? "Your pick goes on" : "Rendering your pick";
    if (state.awaiting) return "Your turn: pick one";
    const count = search.spent?.candidates;
    if (!this.running) return count ? `Found the best of ${count}` : "Found";
    if (state.phase === "finishing") return "Rendering the winner once more";
    return `Searching · ${count} ${search.budget.candidates ? `of ${search.budget.candidates}` : "so far"}`;
  }

  left() {
    const known = this.state.searches.map((one) => one.left).filter((value) => value !== null);
    if (!known.length) return null;
    const waiting = this.state.searches.filter((one) => one.phase === "waiting").length;
    const pace = Math.max(...this.state.searches.map((one) => (one.left ?? 0) + (one.spent?.seconds ?? 0)));
    return known.reduce((sum, value) => sum + value, 0) + waiting * pace;
  }

  drawSamples() {
    const searches = this.state.searches;
    show(this.samples, searches.length > 1);
    if (searches.length < 2) return;
    while (this.samples.children.length > searches.length) this.samples.lastChild.remove();
    searches.forEach((one, i) => {
      const button = this.samples.children[i] ?? this.samples.appendChild(el("button", { type: "button", onclick: () => this.pickSample(i) }));
      setText(button, `Image ${i + 1}`);
      button.setAttribute("aria-pressed", String(i === this.sample));
      button.classList.toggle("nsp-waiting", one.phase === "waiting");
    });
  }

  drawJudges() {
    const names = this.state.judges;
    show(this.judges, names.length > 1);
    const chosen = this.judge ?? this.state.leading;
    if (this.judges.children.length !== names.length) {
      this.judges.replaceChildren(...names.map((name, i) => el("option", { value: i, text: name })));
    }
    this.judges.value = String(Math.min(chosen, names.length - 1));
    const heldOut = this.search.points.some((point) => point[3] !== null);
    setText(this.legend, heldOut ? `solid: ${names[chosen] ?? "best"} · dashed: held out` : "best so far, against cost");
  }

  drawCurve() {
    if (!this.search) return;
    const width = Math.max(160, Math.round(this.curve.clientWidth || 320));
    const svg = drawCurve(this.search, this.judge ?? this.state.leading, width, (id) => this.openById(id));
    this.curve.replaceChildren(...(svg ? [svg] : []));
    show(this.curve.parentElement, Boolean(svg));
  }

  drawFoot() {
    const forecast = this.running && !this.search.forecast ? null : this.search.forecast;
    setText(this.forecast, forecastText(forecast));
    const done = !this.running && Boolean(this.state.prompt);
    const picked = actions.isPicked(this.node);
    const counted = Boolean(this.search.budget?.candidates) && !isLinked(this.node, "candidates");
    show(this.moreButton, done && !picked && counted && Boolean(widgetOf(this.node, "candidates")));
    setText(this.moreButton, `Search ${this.more} more`);
    show(this.again, picked && !this.running);
    show(this.rejected, this.hidden.length > 0);
    setText(this.rejected, `${this.hidden.length} rejected · show`);
  }

  drawNotes() {
    const notes = this.state.notes;
    show(this.notes, notes.length > 0);
    setText(this.notes.firstChild, plural(notes.length, "note"));
    if (this.notes.lastChild.children.length !== notes.length || this.noted !== notes.join("\n")) {
      this.noted = notes.join("\n");
      this.notes.lastChild.replaceChildren(...notes.map((note) => el("li", { text: note })));
    }
  }

  // -- what is done -------------------------------------------------------------------------------------------------

  async run(promise) {
    try {
      await promise;
    } catch (error) {
      console.error("NoiseSearch:", error);
      setText(this.said, `That failed: ${error.message}`);
    }
    this.draw();
  }

  async stop() {
    this.stops++;
    this.drawHead();
    const heard = await actions.stop(this.state.run).catch(() => false);
    if (!heard && this.running) setText(this.said, "The search is over already, or the server does not answer.");
  }

  // Why it cannot be used yet; "" where it goes on now.
  use(candidate) {
    const why = actions.whyNotUse(this.state, this.sample, candidate);
    setText(this.said, why);
    if (!why) this.run(actions.use(this.node, this.state, this.sample, candidate));
    return why;
  }

  around(candidate) {
    const why = actions.whyNotAround(candidate);
    if (why) return setText(this.said, why);
    return this.run(actions.moreLikeThis(this.node, candidate));
  }

  async copy(candidate) {
    const said = await actions.copy(candidate).catch(() => "The browser does not let us copy");
    setText(this.said, said);
    return said;
  }

  reject(candidate) {
    actions.reject(this.node, candidate);
    this.draw();
  }

  takeBack() {
    actions.takeBack(this.node, this.hidden);
    this.draw();
  }

  searchAgain() {
    actions.searchAgain(this.node);
    this.draw();
  }

  pickSample(sample) {
    this.sample = sample;
    this.draw();
  }

  pickJudge() {
    this.judge = Number(this.judges.value);
    this.drawJudges();
    this.drawCurve();
  }

  openById(id) {
    const candidate = this.candidates.find((one) => one.id === id);
    if (candidate) openDialog(this, candidate);
  }
}

function total(state, what) {
  return state.searches.reduce((sum, one) => sum + (one.spent?.[what] ?? 0), 0);
}

function forecastText(forecast) {
  if (!forecast) return "";
  if (forecast.unknown) return forecast.unknown;
  const { more, gain, low, high, seconds } = forecast;
  const time = seconds === null || seconds === undefined ? "" : `, ${duration(seconds)}`;
  return `${more} more: expected gain ${signed(gain)} [${number(low)}, ${number(high)}]${time}`;
}

function sameRecipe(one, other) {
  if (!one || !other) return false;
  const pieces = (text) => JSON.stringify(JSON.parse(text).pieces);
  return one === other || pieces(one) === pieces(other);
}
