// What the programs made with rhea have in common, as talk.py has it for those made with Proton.

import { readFileSync } from "node:fs";
import readline from "node:readline";
import rhea from "rhea";

export const options = JSON.parse(process.argv[2]);

export function say(event, details) {
  process.stdout.write(JSON.stringify({ event, ...details }) + "\n");
}

/** Connects and does what is ordered. */
export function connect(obey) {
  const { host, port, login, again } = options;
  const { heartbeat, max_frame_size } = options.connection;
  const details = { host, port, username: login.user, password: login.password };
  if (login.trusted) Object.assign(details, { transport: "tls", ca: readFileSync(login.trusted) });
  if (login.certificate) {
    const [cert, key] = [login.certificate, login.key].map((path) => readFileSync(path));
    Object.assign(details, { cert, key, enable_sasl_external: login.mechanism === "EXTERNAL" });
  }
  // rhea takes this one when there is a name and no password.
  if (login.mechanism === "ANONYMOUS") details.username = "anonymous";
  if (max_frame_size) details.max_frame_size = max_frame_size;
  Object.assign(details, { idle_time_out: heartbeat * 1000, reconnect: again });
  if (again) Object.assign(details, { initial_reconnect_delay: 20, max_reconnect_delay: 20 });

  let closing = false;
  rhea.on("connection_error", ({ connection, error }) => {
    say("disconnected", { condition: (connection.error ?? error).condition });
  });
  rhea.on("connection_close", () => {
    say("closed");
    process.exit();
  });
  rhea.on("disconnected", ({ error }) => {
    if (error?.message) console.error(error.message);
    if (closing || !again) process.exit();
  });
  const connection = rhea.connect(details);
  readline.createInterface({ input: process.stdin }).on("line", (line) => {
    const [order, ...words] = JSON.parse(line);
    if (order !== "close") return obey(order, ...words);
    closing = true;
    connection.close();
  });
  return connection;
}

/** A link that is refused is told, and the connection closed. */
export function refused(link, connection) {
  say("refused", { condition: link.error.condition });
  connection.close();
}
