// A device made with MQTT.js: over TCP or WebSocket, as the URL says. Talks as program.py has it.

import { readFileSync } from "node:fs";
import readline from "node:readline";
import mqtt from "mqtt";

const { url, ca, ...given } = JSON.parse(process.argv[2]);
const options = { ...given, reconnectPeriod: 0, clean: true };
if (ca) options.ca = readFileSync(ca);

function say(event, details) {
  process.stdout.write(JSON.stringify({ event, ...details }) + "\n");
}

const client = mqtt.connect(url, options);
const heard = [];

client.on("connect", (packet) => {
  say("connected", { code: packet.reasonCode ?? packet.returnCode, properties: packet.properties });
});
client.on("error", (error) => say("error", { code: error.code, text: error.message }));
client.on("close", () => {
  say("closed");
  process.exit();
});
client.on("message", (topic, payload, packet) => {
  heard.push(packet);
  const properties = { ...packet.properties };
  if (properties.correlationData) properties.correlationData = properties.correlationData.toString();
  say("message", { topic, payload: payload.toString(), qos: packet.qos, properties });
});

const orders = {
  publish(topic, payload, details) {
    const start = { qos: 1, ...details };
    client.publish(topic, payload, start, (error) => say("published", { payload, code: error?.code }));
  },
  subscribe(filter, qos) {
    client.subscribe(filter, { qos }, (error, granted) => {
      say("subscribed", { filter, qos: granted?.[0]?.qos, error: error?.message });
    });
  },
  // What any responder does that knows MQTT 5, and nothing of commands.
  respond(payload, userProperties) {
    const { responseTopic, correlationData } = heard.at(-1).properties;
    const properties = { correlationData };
    // With an empty object MQTT.js would write nothing at all.
    if (userProperties) properties.userProperties = userProperties;
    client.publish(responseTopic, payload, { qos: 1, properties }, (error) => {
      say("responded", { topic: responseTopic, code: error?.code });
    });
  },
  close() {
    client.end();
  },
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [order, ...words] = JSON.parse(line);
  orders[order](...words);
});
