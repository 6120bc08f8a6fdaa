// The leaderboard: a picture for each candidate, the best one large. Cards stay the same elements as the search goes on.
import { api } from "../../../scripts/api.js";
import { el, icon, number, setText, show } from "./dom.js";

export function pictureUrl(candidate) {
  if (!candidate?.picture) return null;
  const query = new URLSearchParams({ filename: candidate.picture, subfolder: "noise_search", type: "temp" });
  return api.apiURL(`/view?${query}`);
}

// What makes it, in few words.
export function origin(candidate) {
  if (candidate.plain) return `seed ${candidate.seed}`;
  return candidate.level > 0 ? "on the way" : `recipe from ${candidate.seed}`;
}

function scoreText(candidate, state) {
  return candidate.scores.length ? number(candidate.scores[state.leading] ?? null) : "–";
}

export class Board {
  // does: {open, use, more, copy, reject}, each called with a candidate
  constructor(does) {
    this.does = does;
    this.element = el("ol", { class: "nsp-board", "aria-label": "Candidates, best first" });
    this.cards = new Map();
  }

  // candidates: those to show, best first. marks: {picked: id or null, chosen: id or null, word: what is said of the chosen one}
  draw(candidates, state, marks) {
    for (const [id, card] of this.cards) {
      if (!candidates.some((one) => one.id === id)) {
        card.element.remove();
        this.cards.delete(id);
      }
    }
    this.drawSampling(state);
    candidates.forEach((candidate, place) => {
      let card = this.cards.get(candidate.id);
      if (!card) this.cards.set(candidate.id, (card = new Card(this.does)));
      card.draw(candidate, place, state, marks);
      const there = this.element.children[place];
      if (there !== card.element) this.move(card.element, there);
    });
  }

  // A sample on its way, behind the others.
  drawSampling(state) {
    if (!this.sampling) {
      this.sampling = el("li", { class: "nsp-card nsp-sampling" }, el("div", { class: "nsp-frame" }, el("img", { alt: "", onerror: (event) => event.target.removeAttribute("src") })));
      this.sampling.append(el("div", { class: "nsp-caption" }, el("span", { class: "nsp-from", text: "sampling" })));
    }
    if (!state.sampling) return this.sampling.remove();
    const url = pictureUrl({ picture: state.sampling });
    const image = this.sampling.querySelector("img");
    if (image.getAttribute("src") !== url) image.src = url;
    this.element.append(this.sampling);
  }

  move(element, before) {
    const focused = element.contains(document.activeElement) ? document.activeElement : null;
    this.element.insertBefore(element, before ?? null);
    focused?.focus({ preventScroll: true }); // elements that are moved lose it
  }
}

class Card {
  constructor(does) {
    this.candidate = null;
    const act = (name) => () => does[name](this.candidate);
    this.image = el("img", { alt: "", draggable: "false", decoding: "async", onerror: () => this.missing() });
    this.empty = el("span", { class: "nsp-empty", "aria-hidden": "true" });
    this.rank = el("span", { class: "nsp-rank" });
    this.open = el("button", { class: "nsp-open-card", type: "button", onclick: act("open") }, this.image, this.empty, this.rank);
    this.useButton = button("nsp-use", "Use", "Use this one: it is rendered once and goes on", act("use"));
    this.moreButton = button(null, icon("around"), "More like this: search around it", act("more"));
    this.copyButton = button(null, icon("copy"), "Copy seed or recipe", act("copy"));
    this.rejectButton = button("nsp-reject", icon("reject"), "Reject: not shown again, kept in the journal", act("reject"));
    this.tools = el("div", { class: "nsp-tools" }, this.useButton, this.moreButton, this.copyButton);
    this.score = el("span", { class: "nsp-score" });
    this.held = el("span", { class: "nsp-held-score" });
    this.from = el("span", { class: "nsp-from" });
    this.badge = el("span", { class: "nsp-badge" });
    const caption = el("div", { class: "nsp-caption" }, el("div", { class: "nsp-line" }, this.score, this.held), this.from);
    this.element = el("li", { class: "nsp-card" }, el("div", { class: "nsp-frame" }, this.open, this.badge, this.rejectButton, this.tools), caption);
  }

  draw(candidate, place, state, marks) {
    this.candidate = candidate;
    const finished = candidate.level === 0;
    const picked = marks.picked === candidate.id;
    const chosen = marks.chosen === candidate.id;
    this.picture(candidate);
    setText(this.rank, finished ? String(place + 1) : "…");
    setText(this.score, candidate.scores.length ? candidate.scores.map(number).join(" · ") : "–");
    this.score.title = state.judges.map((name, i) => `${name}: ${number(candidate.scores[i] ?? null)}`).join("\n");
    setText(this.held, state.held_out && candidate.held_out !== null ? number(candidate.held_out) : "");
    this.held.title = state.held_out ? `${state.held_out}, held out: it watches and never chooses` : "";
    setText(this.from, origin(candidate));
    setText(this.badge, picked ? "your pick" : chosen ? marks.word : "");
    show(this.badge, picked || chosen);
    this.element.classList.toggle("nsp-first", place === 0);
    this.element.classList.toggle("nsp-unfinished", !finished);
    this.element.classList.toggle("nsp-picked", picked);
    const words = `${finished ? `Rank ${place + 1}` : "On the way"}, score ${scoreText(candidate, state)}, ${origin(candidate)}`;
    this.open.setAttribute("aria-label", `Enlarge: ${words}`);
    for (const tool of [this.useButton, this.moreButton, this.copyButton]) tool.disabled = !candidate.recipe;
    show(this.tools, finished);
    show(this.rejectButton, finished && Boolean(candidate.recipe));
    this.copyButton.title = candidate.plain ? `Copy seed ${candidate.seed}` : "Copy recipe";
    this.copyButton.setAttribute("aria-label", this.copyButton.title);
  }

  picture(candidate) {
    const url = pictureUrl(candidate);
    if (this.url === url) return;
    this.url = url;
    if (!url) {
      this.image.removeAttribute("src");
      return this.missing();
    }
    this.image.src = url;
    show(this.image, true);
    show(this.empty, false);
  }

  missing() {
    show(this.image, false);
    show(this.empty, true);
  }
}

function button(kind, face, label, onclick) {
  return el("button", { class: kind, type: "button", title: label, "aria-label": label, onclick }, face);
}
