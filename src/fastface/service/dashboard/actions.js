// What can be done with a job.

import { ask } from "./api.js";
import { confirmed, h, icon, say, toast } from "./dom.js";
import { isOver } from "./state.js";

/** The one button of a job: cancels it while it is not over, removes it after. changed(job, removed). */
export function endButton(changed) {
  let job = null;
  const words = h("span");
  const button = h("button", { class: "quiet small", type: "button", onclick: act });
  const [stop, bin] = [icon("close"), icon("bin")];

  async function act() {
    const over = isOver(job);
    if (over && !(await confirmed(`Remove “${job.name}” with all that was found in it?`, "Remove"))) return;
    button.disabled = true;
    try {
      const answer = await ask("DELETE", `/v1/jobs/${job.id}`);
      say(over ? `${job.name} is removed` : `${job.name} is being cancelled`);
      changed(answer, over);
    } catch (error) {
      toast(error.message, true);
    }
    button.disabled = false;
  }

  const show = (now) => {
    job = now;
    const over = isOver(job);
    const name = over ? "Remove" : "Cancel";
    if (words.textContent !== name) {
      words.textContent = name;
      button.replaceChildren(over ? bin : stop, words);
    }
    button.setAttribute("aria-label", `${name} ${job.name}`);
    button.disabled = job.cancelling && !over;
  };
  return { button, show };
}
