// What all processes and sessions of one server know in common, kept in a folder. A gate may start a stdio server several
// times, and ask one process what became of a call in another.

import fs from "node:fs";
import path from "node:path";

export class SharedState {
    constructor(folder) {
        this.folder = folder;
        fs.mkdirSync(folder, { recursive: true });
    }

    write(kind, key, text = "") {
        fs.writeFileSync(path.join(this.folder, `${kind}.${encodeURIComponent(key)}`), text);
    }

    read(kind, key) {
        try {
            return fs.readFileSync(path.join(this.folder, `${kind}.${encodeURIComponent(key)}`), "utf8");
        } catch {
            return "unknown";
        }
    }

    /** The keys of one kind. */
    keys(kind) {
        const names = fs.readdirSync(this.folder).filter((name) => name.startsWith(`${kind}.`));
        return names.map((name) => decodeURIComponent(name.slice(kind.length + 1)));
    }

    /** Calls back for each key that any process writes, perhaps several times for one. */
    watch(changed) {
        fs.watch(this.folder, (_event, name) => {
            const dot = name?.indexOf(".") ?? -1;
            if (dot > 0) changed(name.slice(0, dot), decodeURIComponent(name.slice(dot + 1)));
        }).unref();
    }
}
