// Browsers start no web worker for a page that was opened from disk. There, search runs its script in a hidden frame
// instead, which talks like a worker. Material's search script looks for this very name.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      this.url = url
      this.waiting = []
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.appendChild(this.frame)
      const inside = this.frame.contentWindow
      inside.postMessageToPage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      const page = this.frame.contentDocument
      page.open()
      page.write(
        "<!doctype html><script>" +
          "window.postMessage = data => postMessageToPage(data);" +
          "window.importScripts = (...urls) => urls.reduce((before, url) => before.then(() => new Promise((done, failed) => {" +
          "  const script = document.createElement('script');" +
          "  script.src = url; script.onload = done; script.onerror = failed; document.body.appendChild(script)" +
          "})), Promise.resolve())" +
          "<\/script><body></body>"
      )
      page.close()
      const script = page.createElement("script")
      script.src = url
      script.onload = () => {
        this.ready = true
        this.waiting.splice(0).forEach(data => this.postMessage(data))
      }
      page.body.appendChild(script)
    }

    postMessage(data) {
      if (this.ready) this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }))
      else this.waiting.push(data)
    }

    terminate() {
      this.frame.remove()
    }
  }
  window.Worker = window.IFrameWorker
}
