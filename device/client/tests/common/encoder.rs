//! Packs from an encoder that is not the server's: the C library's, and frames made by hand (RFC
//! 8878, section 3.1).

use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

/// The largest block (RFC 8878, section 3.1.1.2.4).
pub const BLOCK: usize = 128 << 10;

/// A frame as a server makes it: with its length and its checksum.
pub fn frame(content: &[u8], dictionary: &[u8]) -> Vec<u8> {
    frame_with(content, dictionary, &[])
}

/// A frame as in [`frame`], made with further parameters.
pub fn frame_with(content: &[u8], dictionary: &[u8], otherwise: &[CParameter]) -> Vec<u8> {
    let mut compressor = Compressor::with_dictionary(6, dictionary).unwrap();
    for parameter in [CParameter::ChecksumFlag(true)].iter().chain(otherwise) {
        compressor.set_parameter(*parameter).unwrap();
    }
    compressor.compress(content).unwrap()
}

/// A block of a frame made by hand.
pub enum Block<'b> {
    Raw(&'b [u8]),
    Repeated(u8, usize),
    Compressed(&'b [u8]),
}

/// A frame of these blocks with the checksum of `content`. Its head states the length `says` and
/// the window `window` (RFC 8878, section 3.1.1.1.2).
pub fn by_hand(says: u64, window: u8, blocks: &[Block<'_>], content: &[u8]) -> Vec<u8> {
    let mut frame =
        [&0xFD2F_B528_u32.to_le_bytes()[..], &[0b1100_0100, window], &says.to_le_bytes()].concat();
    for (number, block) in blocks.iter().enumerate() {
        let (kind, size, bytes) = match block {
            Block::Raw(bytes) => (0, bytes.len(), bytes.to_vec()),
            Block::Repeated(byte, times) => (1, *times, vec![*byte]),
            Block::Compressed(bytes) => (2, bytes.len(), bytes.to_vec()),
        };
        let is_last = usize::from(number + 1 == blocks.len());
        frame.extend_from_slice(&(is_last | kind << 1 | size << 3).to_le_bytes()[..3]);
        frame.extend_from_slice(&bytes);
    }
    frame.extend_from_slice(&checksum(content));
    frame
}

/// The window of the largest allowed pack: 4 MiB.
pub const WINDOW: u8 = 12 << 3;

fn checksum(content: &[u8]) -> [u8; 4] {
    *frame(content, &[]).last_chunk().unwrap()
}
