//! The records of a `sow` frame, as naively as its header (protocol.md S-1 to S-9).

use super::{Fields, header, overlaid};

/// One record: its effective header, and its data.
pub(crate) type Record<'a> = (Fields, &'a [u8]);

/// The good records of a batch, then where it stops adding up, if it does: in the header of
/// the next record, or behind it.
pub(crate) fn decode(frame: &[u8]) -> Option<(Vec<Record<'_>>, Option<usize>)> {
    let (said, body) = header(frame, 0).ok()?;
    let of_frame = overlaid(Vec::new(), said);
    if text(&of_frame, "c") != Some(b"sow") {
        return None;
    }
    let mut records = Vec::new();
    let mut at = body;
    while !frame[at..].iter().all(|byte| b" \t\r\n".contains(byte)) {
        match record(frame, at, &of_frame) {
            Ok((fields, data, end)) => {
                records.push((fields, data));
                at = end;
            }
            Err(Stop::InHeader(_) | Stop::WithoutLength)
                if at == body && is_lone(&of_frame, frame.len() - body) =>
            {
                return Some((vec![(of_frame, &frame[body..])], None));
            }
            Err(Stop::InHeader(offset) | Stop::BeyondFrame(offset)) => return Some((records, Some(offset))),
            Err(Stop::WithoutLength) => return Some((records, Some(at))),
        }
    }
    Some((records, None))
}

enum Stop {
    InHeader(usize),
    WithoutLength,
    BeyondFrame(usize),
}

fn record<'a>(frame: &'a [u8], at: usize, of_frame: &Fields) -> Result<(Fields, &'a [u8], usize), Stop> {
    let (said, data) = header(frame, at).map_err(Stop::InHeader)?;
    // The frame's own length is that of its first record (S-6); every record is a `sow` (S-8).
    let mut fields = of_frame.clone();
    fields.retain(|(key, _)| key != "l");
    let said = said.into_iter().filter(|(key, _)| key != "c").collect();
    let fields = overlaid(fields, said);
    let length = number(&fields, "l").ok_or(Stop::WithoutLength)?;
    let left = (frame.len() - data) as u64;
    if length > left {
        return Err(Stop::BeyondFrame(data));
    }
    let end = data + length as usize;
    Ok((fields, &frame[data..end], end))
}

/// S-7: no header of its own, one record at most, and the frame's length spans the body.
fn is_lone(of_frame: &Fields, body: usize) -> bool {
    number(of_frame, "l") == Some(body as u64) && number(of_frame, "bs").is_none_or(|size| size == 1)
}

fn text<'a>(fields: &'a Fields, wanted: &str) -> Option<&'a [u8]> {
    fields.iter().find(|(key, _)| key == wanted).map(|(_, value)| &value[..])
}

fn number(fields: &Fields, wanted: &str) -> Option<u64> {
    super::number(text(fields, wanted)?)
}
