// The site's search runs in a worker, which browsers refuse to pages that are opened from a disk.
// There an invisible frame does the worker's work.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.onmessage = null;
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "search";
      document.body.appendChild(frame);
      this.frame = frame;
      window.addEventListener("message", (event) => {
        if (event.source !== frame.contentWindow) return;
        const copy = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(copy);
        if (this.onmessage) this.onmessage(copy);
      });
      const inner = frame.contentDocument;
      inner.open();
      inner.write(
        "<script>" +
          "const answer = parent.postMessage.bind(parent);" +
          "self.postMessage = (data) => answer(data, '*');" +
          "self.importScripts = (...urls) => Promise.all(urls.map((url) =>" +
          "  new Promise((done, failed) => {" +
          "    const script = document.createElement('script');" +
          "    Object.assign(script, { src: url, async: false, onload: done, onerror: failed });" +
          "    document.body.appendChild(script);" +
          "  })));" +
          "<\/script><body><script src='" + new URL(url, location.href).href + "'><\/script>",
      );
      inner.close();
      this.isLoaded = false;
      this.waiting = [];
      frame.addEventListener("load", () => {
        this.isLoaded = true;
        this.waiting.splice(0).forEach((data) => this.send(data));
      });
    }

    send(data) {
      const event = new this.frame.contentWindow.MessageEvent("message", { data });
      this.frame.contentWindow.dispatchEvent(event);
    }

    postMessage(data) {
      if (this.isLoaded) this.send(data);
      else this.waiting.push(data);
    }

    terminate() {
      this.frame.remove();
    }
  };
}
