// How a job's state and progress are shown; the list and the job's own page share it.

import { h, set, text } from "./dom.js";
import { count, lasting, speed } from "./words.js";

export const OVER = ["done", "failed", "cancelled"];
export const isOver = (job) => OVER.includes(job.state);

const WORDS = { queued: "waiting", running: "running", done: "done", failed: "failed", cancelled: "cancelled" };
const STAGES = { loading: "loading the models", people: "gathering people", queued: "waiting", done: "finishing" };

export function pill() {
  return h("span", { class: "pill" });
}

export function showPill(element, job) {
  element.dataset.state = job.cancelling && !isOver(job) ? "cancelling" : job.state;
  text(element, job.cancelling && !isOver(job) ? "ending" : WORDS[job.state] ?? job.state);
}

export function progressBar() {
  return h("div", { class: "progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, h("i"));
}

export function showProgress(element, job) {
  const { frames_done: done, frames_total: total, stage } = job.progress;
  const known = total && stage !== "loading" && stage !== "queued";
  const share = known ? Math.min(1, done / total) : 0;
  element.hidden = job.state !== "running";
  element.classList.toggle("unknown", job.state === "running" && !known);
  element.firstChild.style.width = `${100 * share}%`;
  set(element, {
    "aria-label": `Progress of ${job.name}`,
    "aria-valuenow": known ? Math.round(100 * share) : null,
    "aria-valuetext": doing(job),
  });
}

/** One line of what happens, or of what happened. */
export function doing(job) {
  const { frames_done: done, frames_total: total, stage, fps, seconds_left: left } = job.progress;
  if (job.state === "queued") return job.attempt ? `waits for its attempt ${job.attempt + 1}` : "waits for a worker";
  if (job.state === "running") {
    if (stage !== "frames") return STAGES[stage] ?? stage;
    return [
      total ? `${count(done)} of ${count(total)} frames` : `${count(done)} frames`,
      fps > 0 && `${speed(fps)} a second`,
      left != null && `${lasting(left)} left`,
    ].filter(Boolean).join(" · ");
  }
  if (job.state === "failed") return job.error?.message ?? "no reason was given";
  const took = job.started && job.finished ? (Date.parse(job.finished) - Date.parse(job.started)) / 1000 : null;
  if (job.state === "cancelled") return took === null ? "never begun" : `ended after ${lasting(took)}`;
  const frames = done > 0 ? `${count(done)} frames` : "done";
  return took === null ? frames : `${frames} in ${lasting(Math.max(took, 0.1))}`;
}
