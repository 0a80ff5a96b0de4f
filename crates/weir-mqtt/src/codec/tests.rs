use super::*;

fn length(buffer: &[u8], limit: usize) -> Result<Option<(usize, usize)>, Violation> {
    let found = frame(buffer, limit)?;
    Ok(found.map(|Frame { header, body }| (header, body)))
}

#[test]
fn a_frame_is_there_only_in_full() {
    let long = |body: usize| [&[0x30, 0x80, 0x01][..], &vec![0; body]].concat();
    assert_eq!(length(b"", 10), Ok(None));
    assert_eq!(length(&[0x30], 10), Ok(None));
    assert_eq!(length(&[0x30, 2, 0], 10), Ok(None));
    assert_eq!(length(&[0x30, 2, 0, 0], 10), Ok(Some((2, 2))));
    assert_eq!(length(&[0x30, 2, 0, 0, 9], 10), Ok(Some((2, 2))));
    assert_eq!(length(&[0xc0, 0], 0), Ok(Some((2, 0))));
    assert_eq!(length(&[0x30, 0x80], 200), Ok(None));
    assert_eq!(length(&long(127), 200), Ok(None));
    assert_eq!(length(&long(128), 200), Ok(Some((3, 128))));
}

#[test]
fn the_announced_length_is_checked_before_anything_comes() {
    let too_large = |buffer: &[u8], limit| length(buffer, limit).unwrap_err().code;
    let code = DisconnectReasonCode::PacketTooLarge;
    assert_eq!(too_large(&[0x30, 11], 10), code);
    assert_eq!(
        too_large(&[0x30, 0xff, 0xff, 0xff, 0x7f], 268_435_454),
        code
    );
    let most = &[0x30, 0xff, 0xff, 0xff, 0x7f];
    assert_eq!(length(most, 268_435_455), Ok(None));
    let endless = length(&[0x30, 0xff, 0xff, 0xff, 0xff], 268_435_455);
    assert_eq!(
        endless.unwrap_err().code,
        DisconnectReasonCode::MalformedPacket
    );
}

#[test]
fn an_incomplete_packet_reserves_no_memory() {
    let mut inbox = BytesMut::from(
        &b"\x10\x18\x00\x04MQTT\x04\xc2\x00\x3c\x00\x00\x00\x04user\x00\x04pass"[..],
    );
    let Ok(Some((mut codec, _))) = connect(&mut inbox, 100, 268_435_455) else {
        panic!("CONNECT refused");
    };
    let mut inbox = BytesMut::from(&[0x30, 0xff, 0xff, 0xff, 0x7f, 0][..]);
    assert!(matches!(codec.decode(&mut inbox), Ok(None)));
    assert!(inbox.capacity() < 100);
}
