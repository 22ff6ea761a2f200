//! Compressed streams, byte by byte.

use proptest::prelude::*;

use super::*;

fn layer() -> Box<dyn Layer> {
    Zlib::new().layer()
}

fn sent(layer: &mut dyn Layer, bytes: &[u8]) -> BytesMut {
    let mut wire = BytesMut::new();
    layer.send(bytes, &mut wire).unwrap();
    wire
}

/// What `bytes` mean, however often the layer has to be asked; all of it is taken.
fn received(layer: &mut dyn Layer, bytes: &[u8]) -> Result<Vec<u8>, LayerError> {
    let (mut below, mut all) = (BytesMut::from(bytes), Vec::new());
    loop {
        let (mut above, mut answer) = (BytesMut::new(), BytesMut::new());
        let state = layer.receive(&mut below, &mut above, &mut answer)?;
        assert_eq!(state, LayerState::Ready);
        assert!(answer.is_empty() && above.len() < PART + 2 * ROOM.1, "{}", above.len());
        all.extend_from_slice(&above);
        if below.is_empty() {
            return Ok(all);
        }
        assert!(!above.is_empty(), "what is left would never be offered again");
    }
}

#[test]
fn every_send_arrives_at_once_at_every_split() {
    let parts: [&[u8]; 4] = [b"\0\0\0\x02{}", b"", b"more, and more, and more, and more", &[9; 5000]];
    let mut one = layer();
    let wires: Vec<BytesMut> = parts.iter().map(|part| sent(&mut *one, part)).collect();
    assert_eq!(wires[0][0], 0x78, "32 KiB window");
    assert!(wires.iter().all(|wire| wire.is_empty() || wire.ends_with(&[0, 0, 0xff, 0xff])));
    let whole = wires.concat();
    for split in 0..=whole.len() {
        let mut other = layer();
        let mut plain = received(&mut *other, &whole[..split]).unwrap();
        plain.extend(received(&mut *other, &whole[split..]).unwrap());
        assert_eq!(plain, parts.concat());
    }
    let mut other = layer();
    for (part, wire) in parts.iter().zip(&wires) {
        let plain: Vec<u8> = wire.iter().flat_map(|&byte| received(&mut *other, &[byte]).unwrap()).collect();
        assert_eq!(&plain, part, "nothing waits in an encoder or decoder");
    }
}

#[test]
fn a_bomb_is_inflated_in_bounded_parts_without_loss() {
    const SIZE: usize = 10_000_000;
    let mut deflate = Compress::new(Compression::best(), true);
    let mut bomb = Vec::with_capacity(SIZE / 500);
    let status = deflate.compress_vec(&vec![0; SIZE], &mut bomb, FlushCompress::Finish).unwrap();
    assert!(status == Status::StreamEnd && bomb.len() < SIZE / 900);
    let mut layer = layer();
    let (mut below, mut total, mut parts) = (BytesMut::from(&bomb[..]), 0, 0);
    while !below.is_empty() {
        let (mut above, before) = (BytesMut::new(), below.len());
        layer.receive(&mut below, &mut above, &mut BytesMut::new()).unwrap();
        assert!(above.len() <= PART + 2 * ROOM.1 && above.capacity() <= 4 * PART, "{}", above.len());
        assert!(before - below.len() < 2000, "the rest of the input waits");
        (total, parts) = (total + above.len(), parts + 1);
    }
    assert_eq!(total, SIZE);
    assert!(parts > SIZE / (2 * PART));
}

#[test]
fn what_is_there_already_does_not_count_and_is_kept() {
    let wire = sent(&mut *layer(), &[1; 3 * PART]);
    let (mut below, mut above) = (wire, BytesMut::from(&[2; PART][..]));
    layer().receive(&mut below, &mut above, &mut BytesMut::new()).unwrap();
    assert!(
        above.len() >= 2 * PART && above[..PART] == [2; PART] && above[PART..].iter().all(|&byte| byte == 1)
    );
}

#[test]
fn an_orderly_end_has_a_trailer_and_a_missing_one_is_in_order() {
    let (mut one, mut other) = (layer(), layer());
    let mut wire = sent(&mut *one, b"last words");
    one.finish(&mut wire);
    // Adler-32 of the words, computed by hand from its definition.
    let (a, b) = b"last words"
        .iter()
        .fold((1u32, 0u32), |(a, b), &byte| (a + u32::from(byte), b + a + u32::from(byte)));
    assert_eq!(wire[wire.len() - 4..], (b << 16 | a).to_be_bytes());
    assert_eq!(received(&mut *other, &wire).unwrap(), b"last words");
    other.ended().unwrap();
    let error = received(&mut *other, b"x").unwrap_err();
    assert!(error.to_string().contains("ended at its byte"), "{error}");

    let (mut cut, wire) = (layer(), sent(&mut *layer(), b"words"));
    received(&mut *cut, &wire).unwrap();
    cut.ended().unwrap();
}

#[test]
fn a_finish_without_a_word_is_a_whole_stream() {
    let mut wire = BytesMut::new();
    layer().finish(&mut wire);
    assert_eq!(wire[..], [0x78, 0x9c, 3, 0, 0, 0, 0, 1]);
    assert_eq!(received(&mut *layer(), &wire).unwrap(), b"");
}

#[test]
fn what_is_not_compressed_is_refused_with_its_place() {
    let error = received(&mut *layer(), b"\0\0\0\x05hello").unwrap_err();
    assert_eq!(error.trouble(), LayerTrouble::Protocol);
    assert!(error.to_string().contains("corrupt at its byte 2"), "{error}");
    let mut wire = sent(&mut *layer(), &(0..=255).collect::<Vec<u8>>());
    wire[2] |= 0b110;
    let error = received(&mut *layer(), &wire).unwrap_err();
    assert!(error.to_string().contains("corrupt at its byte 3"), "{error}");
    // A dictionary that was never agreed upon: FDICT is set.
    let error = received(&mut *layer(), &[0x78, 0xbb, 0, 0, 0, 1, 0, 0]).unwrap_err();
    assert_eq!(error.trouble(), LayerTrouble::Protocol);
}

#[test]
fn every_level_can_be_chosen_and_changes_the_size() {
    let text = "a line of text that repeats, and repeats; ".repeat(500);
    let sizes = [0, 1, 9, 99].map(|level| {
        let mut layer = Zlib::new().with_level(level).layer();
        let wire = sent(&mut *layer, text.as_bytes());
        assert_eq!(received(&mut *tests::layer(), &wire).unwrap(), text.as_bytes());
        wire.len()
    });
    assert!(
        sizes[0] > text.len() && sizes[1] < text.len() / 10 && sizes[2] <= sizes[1] && sizes[2] == sizes[3]
    );
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_arrive(
        parts in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(7u8), any::<u8>()], 0..3000), 0..6),
        step in 1usize..5000,
        level in 0u32..10,
    ) {
        let (mut one, mut other) = (Zlib::new().with_level(level).layer(), layer());
        let wire: Vec<u8> = parts.iter().flat_map(|part| sent(&mut *one, part)).collect();
        let mut plain = Vec::new();
        for piece in wire.chunks(step) {
            plain.extend(received(&mut *other, piece).unwrap());
        }
        prop_assert_eq!(plain, parts.concat());
    }

    #[test]
    fn garbage_is_an_error_or_bytes_and_never_more(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let with_header = [&[0x78, 0x9c], &bytes[..]].concat();
        let _either = received(&mut *layer(), &with_header);
    }
}
