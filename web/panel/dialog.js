// One candidate, large: scores, what makes it, what can be done with it, and the first candidate to compare with by a flip.
import { whyNotAround } from "./actions.js";
import { origin, pictureUrl } from "./board.js";
import { el, number, setText, show } from "./dom.js";

let open = null;

// candidates: those of the leaderboard. does: {use, more, copy, reject}. view: whose state it shows.
export function openDialog(view, candidate) {
  open?.close();
  open = new Dialog(view, candidate);
}

export function redrawDialog(view) {
  if (open?.view === view) open.draw();
}

class Dialog {
  constructor(view, candidate) {
    this.view = view;
    this.id = candidate.id;
    this.flipped = false;
    this.image = el("img", { class: "nsp-large", alt: "", onerror: () => show(this.image, false) });
    this.caption = el("figcaption", {});
    this.heading = el("h2", {});
    this.facts = el("dl", { class: "nsp-facts" });
    this.said = el("p", { class: "nsp-said", role: "status" });
    const act = (name) => () => this.act(name);
    this.useButton = el("button", { type: "button", class: "nsp-primary", text: "Use this one", onclick: act("use") });
    this.moreButton = el("button", { type: "button", text: "More like this", onclick: act("more") });
    this.copyButton = el("button", { type: "button", onclick: act("copy") });
    this.rejectButton = el("button", { type: "button", text: "Reject", onclick: act("reject") });
    this.flipButton = el("button", { type: "button", text: "Flip with the first", onclick: () => this.flip() });
    const step = (way, text, label) => el("button", { type: "button", class: "nsp-step", text, "aria-label": label, onclick: () => this.step(way) });
    const close = el("button", { type: "button", class: "nsp-close", text: "✕", "aria-label": "Close", onclick: () => this.close() });
    this.element = el(
      "dialog",
      { class: "nsp-dialog", "aria-label": "Candidate", onclose: () => this.gone(), onkeydown: (event) => this.key(event) },
      el("figure", {}, this.image, this.caption, step(-1, "‹", "The one before"), step(1, "›", "The next one")),
      el(
        "div",
        { class: "nsp-side" },
        el("header", {}, this.heading, close),
        this.facts,
        el("div", { class: "nsp-actions" }, this.useButton, this.moreButton, this.copyButton, this.rejectButton, this.flipButton),
        this.said,
      ),
    );
    this.element.addEventListener("pointerdown", (event) => event.target === this.element && this.close());
    this.before = document.activeElement;
    document.body.append(this.element);
    this.draw();
    this.element.showModal();
    this.useButton.focus();
  }

  get candidates() {
    return this.view.candidates;
  }

  get candidate() {
    return this.candidates.find((one) => one.id === this.id);
  }

  draw() {
    const candidate = this.candidate;
    if (!candidate) return this.close();
    const { state, search } = this.view;
    const first = search.first;
    const shown = this.flipped && first ? first : candidate;
    const place = this.candidates.indexOf(candidate);
    const url = pictureUrl(shown);
    show(this.image, Boolean(url));
    if (url && this.image.getAttribute("src") !== url) this.image.src = url;
    const words = this.flipped ? `The first candidate, ${origin(shown)}` : "";
    this.image.alt = words || `Rank ${place + 1}, ${origin(candidate)}`;
    setText(this.caption, words);
    setText(this.heading, candidate.level > 0 ? "On the way" : `#${place + 1} of ${this.candidates.length}`);
    this.facts.replaceChildren(...facts(candidate, first, state));
    setText(this.copyButton, candidate.plain ? "Copy seed" : "Copy recipe");
    const why = whyNotAround(candidate);
    this.moreButton.disabled = Boolean(why);
    this.moreButton.title = why;
    for (const tool of [this.useButton, this.copyButton, this.rejectButton]) tool.disabled = !candidate.recipe;
    show(this.flipButton, Boolean(first?.picture) && first.id !== candidate.id);
    setText(this.flipButton, this.flipped ? "Flip back" : "Flip with the first");
    this.flipButton.setAttribute("aria-pressed", String(this.flipped));
  }

  async act(name) {
    const candidate = this.candidate;
    const next = this.candidates[this.candidates.indexOf(candidate) + 1] ?? this.candidates[0];
    if (name === "copy") return setText(this.said, await this.view.does.copy(candidate));
    const why = this.view.does[name](candidate);
    if (name === "use" && why) return setText(this.said, why);
    if (name !== "reject") this.close();
    if (name === "reject" && next && next.id !== candidate.id) {
      this.id = next.id;
      this.draw();
    } else if (name === "reject") {
      this.close();
    }
  }

  step(way) {
    const place = this.candidates.indexOf(this.candidate) + way;
    const candidate = this.candidates.at(place % this.candidates.length);
    this.id = candidate.id;
    this.flipped = false;
    setText(this.said, "");
    this.draw();
  }

  flip() {
    if (this.flipButton.hidden) return;
    this.flipped = !this.flipped;
    this.draw();
  }

  key(event) {
    event.stopPropagation(); // the canvas has keys of its own
    const does = { ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1), f: () => this.flip() };
    if (!does[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    does[event.key]();
  }

  close() {
    this.element.close();
  }

  gone() {
    if (open === this) open = null;
    this.element.remove();
    this.before?.focus?.({ preventScroll: true });
  }
}

function facts(candidate, first, state) {
  const rows = state.judges.map((name, i) => [name, candidate.scores[i] ?? null, first?.scores[i] ?? null]);
  if (state.held_out) rows.push([`${state.held_out} (held out)`, candidate.held_out, first?.held_out ?? null]);
  const compared = first && first.id !== candidate.id;
  const row = (name, ...value) => el("div", {}, el("dt", { text: name }), el("dd", {}, ...value));
  return [
    ...rows.map(([name, value, was]) =>
      row(name, number(value), compared && was !== null ? el("small", { text: ` first ${number(was)}` }) : null),
    ),
    row(candidate.plain ? "Seed" : "Recipe", candidate.plain ? candidate.seed : origin(candidate)),
    candidate.nfe === null ? null : row("Cost", `${candidate.nfe} NFE`),
  ].filter(Boolean);
}
