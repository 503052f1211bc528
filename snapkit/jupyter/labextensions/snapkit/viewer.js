// Opens .snap files from JupyterLab's file browser: shows what the server says of them, and a way into a notebook.
//
// This is source and extension in one: there is nothing to build. JupyterLab loads it as a container of webpack's
// module federation, which is an object with `init` (given the modules that are shared) and `get`.
//
// No content of a file ever comes here: the server reads it where it lies (snapkit/jupyter/server.py).

"use strict";

(() => {
  const NAME = "Nomad snapshot"; // of the file type, and of the viewer under "Open With"
  const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="16">
    <path class="jp-icon3" fill="#616161"
      d="M12 2 20.5 6.7 12 11.4 3.5 6.7zM3 8.2 11.2 12.8V22L3 17.4zM21 8.2 12.8 12.8V22L21 17.4z"/>
    </svg>`;
  const STYLE = `
    .snapkit-Viewer { background: var(--jp-layout-color1); color: var(--jp-content-font-color1); overflow: auto;
      font-family: var(--jp-content-font-family); font-size: var(--jp-content-font-size1); line-height: 1.4;
      overflow-wrap: anywhere; }
    .snapkit-Viewer:focus-visible { outline: 2px solid var(--jp-brand-color1); outline-offset: -2px; }
    .snapkit-Viewer > div { padding: 12px 24px; max-width: 80em; }
    .snapkit-Viewer h2 { font-size: var(--jp-content-font-size3); margin: 0.4em 0; }
    .snapkit-Viewer h3 { font-size: var(--jp-content-font-size2); margin: 1.2em 0 0.4em; }
    .snapkit-Viewer pre { font-family: var(--jp-code-font-family); font-size: var(--jp-code-font-size);
      white-space: pre-wrap; }
    .snapkit-Viewer table { margin: 0.5em 0 1.2em; }
    .snapkit-Viewer button { margin-right: 8px; }
    .snapkit-Viewer progress { width: 20em; max-width: 100%; accent-color: var(--jp-brand-color1); }
    .snapkit-red { color: color-mix(in srgb, #e5484d 65%, currentColor); } /* as snapkit/page.py has them */
    .snapkit-amber { color: color-mix(in srgb, #b26a00 65%, currentColor); }
    .snapkit-blue { color: color-mix(in srgb, #3f7fd0 65%, currentColor); }
    .snapkit-green { color: color-mix(in srgb, #2f8f4e 65%, currentColor); }
    .snapkit-alert { border-left: 4px solid var(--jp-error-color1); padding-left: 8px; }`;

  let scope; // name of a module -> version -> how to get it

  /** A module of JupyterLab's: what is in use already, else the newest that there is, as webpack chooses one. */
  async function shared(name) {
    const versions = scope[name];
    const newestLast = new Intl.Collator("en", { numeric: true }).compare;
    const found = Object.keys(versions).sort(newestLast);
    const chosen = versions[found.find((version) => versions[version].loaded) ?? found.at(-1)];
    chosen.loaded = 1;
    return (await chosen.get())();
  }

  async function makePlugin() {
    const names = ["application", "apputils", "coreutils", "docregistry", "services", "ui-components"];
    const [{ ILayoutRestorer }, apputils, { URLExt }, documents, { ServerConnection }, { LabIcon }] = await Promise.all(
      names.map((name) => shared(`@jupyterlab/${name}`)),
    );
    const { Printing, Sanitizer, WidgetTracker } = apputils;
    const { Widget } = await shared("@lumino/widgets");
    const sanitizer = new Sanitizer(); // a second wall: JupyterLab's own, for what notebooks show

    /** A call of the server: its response, or an error with one sentence that says what is the matter. */
    async function call(what, path, init) {
      const settings = ServerConnection.makeSettings();
      const url = URLExt.join(settings.baseUrl, "snapkit", what) + URLExt.objectToQueryString({ path });
      let response;
      try {
        response = await ServerConnection.makeRequest(url, init, settings);
      } catch (error) {
        if (init.signal.aborted) throw error;
        throw new Error("The Jupyter server does not answer: is it still running?");
      }
      if (!(response.headers.get("content-type") ?? "").includes("json")) {
        throw new Error(
          "This Jupyter server does not know snapkit: run `jupyter server extension enable snapkit.jupyter.server` " +
            "where it is installed, and start the server again.",
        );
      }
      if (!response.ok) throw new Error((await response.json()).message);
      return response;
    }

    /** What the server finds out about a file: HTML, everything of the archive escaped. It tells how far it is. */
    async function ask(what, path, signal, told) {
      const response = await call(what, path, { signal });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) throw new Error("The Jupyter server broke off: its log may say why.");
        text += value;
        const lines = text.split("\n");
        text = lines.pop();
        for (const answer of lines.map((line) => JSON.parse(line))) {
          if ("message" in answer) throw new Error(answer.message);
          if ("html" in answer) return answer.html;
          told(answer);
        }
      }
    }

    /** The page on one file. */
    class Viewer extends Widget {
      constructor(context, commands) {
        super();
        this.addClass("snapkit-Viewer");
        this.node.tabIndex = 0; // so that the keyboard scrolls it
        this.node.setAttribute("role", "region");
        this._context = context;
        this._commands = commands;
        this._page = this.node.appendChild(document.createElement("div"));
        context.ready.then(
          () => {
            if (this.isDisposed) return;
            context.fileChanged.connect(this.load, this);
            context.pathChanged.connect(this.load, this);
            this.load();
          },
          () => {}, // JupyterLab tells it
        );
      }

      /** Show the summary, from the beginning. */
      async load() {
        this._reading?.abort();
        const { signal } = (this._reading = new AbortController());
        this.node.setAttribute("aria-label", `${NAME} ${this._context.localPath}`);
        const summary = document.createElement("div");
        this._page.replaceChildren(summary);
        if (await this._fill(summary, "summary", "Reading", signal)) {
          summary.querySelector("p").after(...this._actions(signal)); // below the verdict
        } else if (!signal.aborted) {
          const again = button("Read again", "jp-mod-accept", () => this.load());
          summary.append(again);
          if (this.node.contains(document.activeElement)) again.focus();
        }
      }

      /** Put into an element what the server answers, or why there is no answer. Was there one? It can be stopped. */
      async _fill(element, what, doing, signal) {
        const [words, far, progress] = ["p", "p", "progress"].map((tag) => document.createElement(tag));
        words.textContent = `${doing} …`;
        words.setAttribute("role", "status"); // said once; how far it is, is in the progress
        progress.setAttribute("aria-label", doing);
        element.setAttribute("aria-busy", "true");
        const own = new AbortController(); // the server stops when nobody waits
        signal.addEventListener("abort", () => own.abort());
        const stop = button("Stop", "jp-mod-reject", () => own.abort());
        element.replaceChildren(words, progress, far, stop);
        try {
          const html = await ask(what, this._context.localPath, own.signal, ({ done, total }) => {
            far.textContent = `${megabytes(done)} of ${megabytes(total)}`;
            progress.max = Math.max(total, 1);
            progress.value = done;
          });
          if (document.activeElement === stop) this.node.focus(); // not to lose one's place
          element.innerHTML = sanitizer.sanitize(html);
          for (const time of element.querySelectorAll("time")) {
            const moment = new Date(time.textContent.replace(/ UTC$/, "Z").replace(" ", "T"));
            time.title = `${moment.toLocaleString([], { timeZoneName: "short" })}, your time`;
          }
          return true;
        } catch (error) {
          if (signal.aborted) return false;
          if (own.signal.aborted) {
            words.textContent = `Stopped: ${doing.toLowerCase()} was not finished.`;
            if (document.activeElement === stop) this.node.focus();
            element.replaceChildren(words, far);
          } else element.replaceChildren(alert(error.message));
          return false;
        } finally {
          element.removeAttribute("aria-busy");
        }
      }

      /** The buttons, and where they show what comes of them. */
      _actions(signal) {
        const outcome = document.createElement("div");
        const open = button("Open in a notebook", "jp-mod-accept", async () => {
          open.disabled = true;
          try {
            const init = { method: "POST", signal };
            const { path } = await (await call("notebook", this._context.localPath, init)).json();
            await this._commands.execute("docmanager:open", { path, factory: "Notebook" });
          } catch (error) {
            if (!signal.aborted) outcome.replaceChildren(alert(error.message));
          } finally {
            open.disabled = false;
          }
        });
        const verify = button("Verify all", "jp-mod-reject", async () => {
          verify.disabled = true;
          await this._fill(outcome, "verify", "Verifying every record", signal);
          verify.disabled = false;
        });
        const buttons = document.createElement("p");
        buttons.append(open, verify);
        return [buttons, outcome];
      }

      onActivateRequest() {
        this.node.focus();
      }

      dispose() {
        this._reading?.abort();
        super.dispose();
      }

      /** Print the page as long as it is, not what of it is in view, and without buttons. */
      [Printing.symbol]() {
        return () => {
          const node = this._page.cloneNode(true);
          node.querySelectorAll("button").forEach((one) => one.remove());
          return Printing.printWidget({ node });
        };
      }
    }

    function button(label, kind, action) {
      const made = document.createElement("button");
      made.className = `jp-Dialog-button jp-mod-styled ${kind}`;
      made.textContent = label;
      made.addEventListener("click", action);
      return made;
    }

    function alert(message) {
      const made = document.createElement("p");
      made.className = "snapkit-alert";
      made.setAttribute("role", "alert");
      made.textContent = message;
      return made;
    }

    function megabytes(bytes) {
      return `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;
    }

    function refuse() {
      throw new Error("A snapshot is not saved from here: copy or download it in the file browser.");
    }

    /** A document without content: there is nothing in it to be changed or saved. */
    class Model extends documents.DocumentModel {
      toString() {
        refuse();
      }

      toJSON() {
        refuse();
      }
    }

    class ModelFactory extends documents.TextModelFactory {
      get name() {
        return "snapkit";
      }

      get fileFormat() {
        return null; // JupyterLab then asks for no content
      }

      createNew(options) {
        return new Model(options);
      }
    }

    class ViewerFactory extends documents.ABCWidgetFactory {
      constructor(commands, options) {
        super(options);
        this._commands = commands;
      }

      createNewWidget(context) {
        return new documents.DocumentWidget({ content: new Viewer(context, this._commands), context });
      }
    }

    /** Files as they are for the viewer: read-only, or JupyterLab would keep a checkpoint, which is a second copy. */
    function provider(drive) {
      return {
        get: async (path) => ({ ...(await drive.get(path, { content: false, type: "file" })), writable: false }),
        save: async () => refuse(),
      };
    }

    function activate(app, restorer) {
      const { commands, docRegistry, serviceManager } = app;
      const { defaultDrive } = serviceManager.contents;
      if (!defaultDrive.contentProviderRegistry) return; // before JupyterLab 4.4: no way not to load a file
      document.head.appendChild(document.createElement("style")).textContent = STYLE;
      const icon = new LabIcon({ name: "snapkit:snapshot", svgstr: ICON });
      docRegistry.addFileType({
        name: "nomad-snapshot",
        displayName: NAME,
        extensions: [".snap", ".snap.age"],
        mimeTypes: [],
        contentType: "file",
        fileFormat: "base64",
        icon,
      });
      defaultDrive.contentProviderRegistry.register("snapkit", provider(defaultDrive));
      docRegistry.addModelFactory(new ModelFactory());
      const factory = new ViewerFactory(commands, {
        name: NAME,
        modelName: "snapkit",
        fileTypes: ["nomad-snapshot"],
        defaultFor: ["nomad-snapshot"],
        readOnly: true,
        contentProviderId: "snapkit",
      });
      const tracker = new WidgetTracker({ namespace: "snapkit" });
      factory.widgetCreated.connect((_, widget) => {
        widget.title.icon = icon;
        widget.title.iconLabel = NAME;
        widget.context.pathChanged.connect(() => tracker.save(widget));
        tracker.add(widget);
      });
      docRegistry.addWidgetFactory(factory);
      restorer?.restore(tracker, {
        command: "docmanager:open",
        args: ({ context }) => ({ path: context.path, factory: NAME }),
        name: ({ context }) => context.path,
      });
    }

    return {
      id: "snapkit:viewer",
      description: "Shows what is in a snapshot of HashiCorp Nomad.",
      autoStart: true,
      optional: [ILayoutRestorer],
      activate,
    };
  }

  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB.snapkit = {
    init(modules) {
      scope = modules;
    },
    async get() {
      const plugin = await makePlugin();
      return () => ({ __esModule: true, default: plugin });
    },
  };
})();
