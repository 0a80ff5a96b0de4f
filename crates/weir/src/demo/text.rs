//! What to try next, ready to be copied.

use std::io::{self, Write};

use super::TENANT;
use super::provision::Devices;
use crate::app::Addresses;
use crate::secrets::Secrets;

pub(super) fn what_next(
    out: &mut impl Write,
    addresses: Addresses,
    devices: &Devices,
    secrets: &Secrets,
) -> io::Result<()> {
    writeln!(
        out,
        "\nThe gateway goes on running; stop it with Ctrl-C. What arrives is printed here.\n"
    )?;
    writeln!(out, "Applications      amqp://{}", addresses.amqp)?;
    if let Some(address) = addresses.management {
        writeln!(
            out,
            "Management API    http://{address}/v1/tenants/{TENANT}"
        )?;
    }
    writeln!(
        out,
        "Metrics           http://{}/prometheus",
        addresses.health
    )?;
    if let Some(address) = addresses.http {
        let device = &devices.http;
        writeln!(out, "\nSend over HTTP:\n")?;
        writeln!(
            out,
            "  curl -i -u {}:{} -H 'Content-Type: text/plain' --data hello http://{address}/telemetry",
            device.username(),
            device.password,
        )?;
    }
    if let Some(address) = addresses.mqtt {
        let device = &devices.mqtt;
        writeln!(out, "\nSend over MQTT:\n")?;
        writeln!(
            out,
            "  mosquitto_pub -h {} -p {} -u {} -P {} -q 1 -t telemetry -m hello",
            address.ip(),
            address.port(),
            device.username(),
            device.password,
        )?;
    }
    if let Some(address) = addresses.management {
        let operator = &secrets.operator;
        writeln!(out, "\nLook at a device:\n")?;
        writeln!(
            out,
            "  curl -u {}:{} http://{address}/v1/devices/{TENANT}/{}",
            operator.username, operator.password, devices.http.id,
        )?;
    }
    writeln!(
        out,
        "\nReceive in Python (pip install python-qpid-proton); it shares the messages"
    )?;
    writeln!(out, "with the application above:\n")?;
    writeln!(out, "{}", receiver(addresses, secrets))
}

fn receiver(addresses: Addresses, secrets: &Secrets) -> String {
    let (user, password) = (&secrets.application.username, &secrets.application.password);
    format!(
        "  python3 - <<'EOF'\n\
         from proton.utils import BlockingConnection\n\
         connection = BlockingConnection('amqp://{}', user='{user}', password='{password}',\n\
         \x20                               allowed_mechs='PLAIN', allow_insecure_mechs=True)\n\
         receiver = connection.create_receiver('telemetry/{TENANT}', credit=10)\n\
         while True:\n\
         \x20   message = receiver.receive(timeout=None)\n\
         \x20   print(message.properties, bytes(message.body or b''))\n\
         \x20   receiver.accept()\n\
         EOF",
        addresses.amqp
    )
}
