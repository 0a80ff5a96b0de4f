//! What to try next, ready to be copied.

use std::io::{self, Write};

use super::TENANT;
use super::provision::Devices;
use crate::app::Addresses;
use crate::secrets::{Login, Secrets};

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
    commands(out, addresses, devices, secrets)?;
    writeln!(
        out,
        "\nReceive in Python (pip install python-qpid-proton); it shares the messages"
    )?;
    writeln!(out, "with the application above:\n")?;
    writeln!(out, "{}", receiver(addresses, secrets))
}

/// Devices that wait for a command, and how to send it.
fn commands(
    out: &mut impl Write,
    addresses: Addresses,
    devices: &Devices,
    secrets: &Secrets,
) -> io::Result<()> {
    let Login { username, password } = &secrets.application;
    let send = format!(
        "WEIR_AMQP_URL=amqp://{} WEIR_AMQP_USER={username}:{password} {} command {TENANT}",
        addresses.amqp,
        program()
    );
    if let Some(address) = addresses.http {
        let device = &devices.http;
        writeln!(
            out,
            "\nWait for a command over HTTP; send it from another terminal:\n"
        )?;
        writeln!(
            out,
            "  curl -i -u {}:{} -H 'hono-ttd: 60' -H 'Content-Type: text/plain' --data awake http://{address}/event",
            device.username(),
            device.password,
        )?;
        writeln!(out, "  {send} {} set-interval --payload 30", device.id)?;
    }
    if let Some(address) = addresses.mqtt {
        let device = &devices.mqtt;
        let login = format!(
            "-h {} -p {} -u {} -P {} -q 1",
            address.ip(),
            address.port(),
            device.username(),
            device.password
        );
        writeln!(out, "\nThe same over MQTT, where the device answers:\n")?;
        writeln!(
            out,
            "  mosquitto_sub {login} -t 'command///req/#' -C 1 -F %t | cut -d / -f 5 | \
             xargs -I ID mosquitto_pub {login} -t command///res/ID/200 -m done"
        )?;
        writeln!(
            out,
            "  {send} {} set-interval --payload 30 --wait",
            device.id
        )?;
    }
    Ok(())
}

/// This program as a shell finds it where it was started.
fn program() -> String {
    let name = std::env::args_os().next().unwrap_or_else(|| "weir".into());
    let name = name.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    match name.chars().all(is_plain) {
        true => name.into_owned(),
        false => format!("'{}'", name.replace('\'', r"'\''")),
    }
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
