// What htmx cannot: say that the page is not live any more, leave alone what somebody fills in, ask before danger.
"use strict";
(() => {
  const SILENT_MS = 40000; // the server says something each 15 s
  const lost = document.getElementById("lost");
  let heard = Date.now();
  let following = false;

  const say = (away) => {
    if (lost) lost.hidden = !away;
  };

  // browsers keep six connections to a site: a tab that nobody sees gives its own back
  class Stream extends EventTarget {
    constructor(url) {
      super();
      this.url = url;
      this.readyState = EventSource.CONNECTING;
      document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.open()));
      if (!document.hidden) this.open();
    }

    open() {
      if (this.source || this.readyState === EventSource.CLOSED) return;
      const source = new EventSource(this.url);
      this.source = source;
      source.onopen = (event) => {
        this.readyState = EventSource.OPEN;
        this.onopen?.(event);
      };
      source.onerror = (event) => {
        this.readyState = source.readyState;
        this.onerror?.(event);
      };
      for (const topic of ["ping", "alerts", "actions", "silences", "samples"]) {
        source.addEventListener(topic, () => {
          heard = Date.now();
          say(false);
          this.dispatchEvent(new MessageEvent(topic));
        });
      }
    }

    pause() {
      this.source?.close();
      this.source = null;
    }

    close() {
      this.pause();
      this.readyState = EventSource.CLOSED;
    }
  }
  htmx.createEventSource = (url) => new Stream(url);

  document.body.addEventListener("htmx:sseOpen", () => {
    heard = Date.now();
    say(false);
    // what was told meanwhile is not told again
    if (following) {
      for (const part of document.querySelectorAll("[hx-trigger^='sse:']")) {
        htmx.trigger(part, part.getAttribute("hx-trigger").split(" ")[0]);
      }
    }
    following = true;
  });
  document.body.addEventListener("htmx:sseError", () => say(true));
  setInterval(() => {
    if (following && !document.hidden && Date.now() - heard > SILENT_MS) say(true);
  }, 5000);

  const touched = (field) => {
    if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
    if (field.tagName === "SELECT") return [...field.options].some((one) => one.selected !== one.defaultSelected);
    return field.type !== "hidden" && field.value !== field.defaultValue;
  };
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    const part = event.detail.target;
    const writing = part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea");
    if (writing || [...part.querySelectorAll("input, select, textarea")].some(touched)) event.detail.shouldSwap = false;
  });
  // what somebody has opened stays open
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name === "open" && node.tagName === "DETAILS");

  // g and a letter goes to a tab, / to the first filter
  let went = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
    if (event.key === "/") {
      const field = document.querySelector(".filters input");
      if (field) {
        event.preventDefault();
        field.focus();
      }
    } else if (Date.now() - went < 1500) {
      document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`)?.click();
      went = 0;
    } else if (event.key === "g") went = Date.now();
  });
})();
