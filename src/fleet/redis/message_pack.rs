//! Values in `MessagePack`, as far as the scripts exchange them: whole numbers, and texts that `cmsgpack.pack` of Redis has written.
//!
//! The format is <https://github.com/msgpack/msgpack/blob/master/spec.md>.

/// Packs numbers, one after the other.
pub(super) fn pack_numbers(numbers: &[u64]) -> Vec<u8> {
    let mut packed = Vec::new();
    for &number in numbers {
        if let Ok(small @ 0..=0x7f) = u8::try_from(number) {
            packed.push(small);
        } else {
            // Some numbers have a shorter form. It would save a few bytes, and no time of the server.
            packed.push(0xcf);
            packed.extend(number.to_be_bytes());
        }
    }
    packed
}

/// Reads one value after the other.
#[derive(Debug)]
pub(super) struct MessagePackReader<'a> {
    rest: &'a [u8],
}

impl<'a> MessagePackReader<'a> {
    pub(super) fn new(packed: &'a [u8]) -> Self {
        Self { rest: packed }
    }

    /// Reads a whole number. Returns `None` if the next value is not a whole number, or does not fit.
    pub(super) fn number(&mut self) -> Option<i64> {
        let [marker] = self.bytes()?;
        match marker {
            // The number stands in the marker itself, if it is in -32..=127.
            0x00..=0x7f | 0xe0..=0xff => Some(i8::from_be_bytes([marker]).into()),
            0xcc => self.bytes().map(u8::from_be_bytes).map(i64::from),
            0xcd => self.bytes().map(u16::from_be_bytes).map(i64::from),
            0xce => self.bytes().map(u32::from_be_bytes).map(i64::from),
            0xcf => self.bytes().map(u64::from_be_bytes)?.try_into().ok(),
            0xd0 => self.bytes().map(i8::from_be_bytes).map(i64::from),
            0xd1 => self.bytes().map(i16::from_be_bytes).map(i64::from),
            0xd2 => self.bytes().map(i32::from_be_bytes).map(i64::from),
            0xd3 => self.bytes().map(i64::from_be_bytes),
            _ => None,
        }
    }

    /// Reads whole numbers that are not negative.
    pub(super) fn unsigned_numbers<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = self.number()?.try_into().ok()?;
        }
        Some(numbers)
    }

    /// Reads a text. Returns `None` if the next value is not a text.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let [marker] = self.bytes()?;
        let length = match marker {
            0xa0..=0xbf => usize::from(marker & 0x1f),
            0xd9 => self.bytes().map(u8::from_be_bytes)?.into(),
            0xda => self.bytes().map(u16::from_be_bytes)?.into(),
            0xdb => self.bytes().map(u32::from_be_bytes)?.try_into().ok()?,
            _ => return None,
        };
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        std::str::from_utf8(text).ok()
    }

    /// Returns `true` if all values have been read.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples are from the specification, for each form that a number can have.
    #[test]
    fn numbers_of_every_form_are_read() {
        for (packed, number) in [
            (&[0x00][..], 0),
            (&[0x7f], 127),
            (&[0xff], -1),
            (&[0xe0], -32),
            (&[0xcc, 0x80], 128),
            (&[0xcd, 0x01, 0x00], 256),
            (&[0xce, 0x00, 0x01, 0x00, 0x00], 65_536),
            (&[0xcf, 0, 0, 0, 1, 0, 0, 0, 0], 1 << 32),
            (&[0xd0, 0x80], -128),
            (&[0xd1, 0xff, 0x00], -256),
            (&[0xd2, 0xff, 0xff, 0x00, 0x00], -65_536),
            (&[0xd3, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], -(1 << 32)),
        ] {
            assert_eq!(MessagePackReader::new(packed).number(), Some(number), "{packed:x?}");
            let truncated = &packed[..packed.len() - 1];
            assert_eq!(MessagePackReader::new(truncated).number(), None, "{truncated:x?}");
        }
        // Above `i64::MAX`, and a float.
        assert_eq!(MessagePackReader::new(&[0xcf, 0xff, 0, 0, 0, 0, 0, 0, 0]).number(), None);
        assert_eq!(MessagePackReader::new(&[0xca, 0x5f, 0x80, 0, 0]).number(), None);
    }

    /// What is packed here is read again.
    #[test]
    fn packed_numbers_are_read() {
        let numbers = [0, 127, 128, 255, 1 << 53, i64::MAX.unsigned_abs()];
        let packed = pack_numbers(&numbers);
        let mut reader = MessagePackReader::new(&packed);
        assert_eq!((reader.unsigned_numbers(), reader.is_at_end()), (Some(numbers), true));
    }

    /// Texts of every length are read, and the values after them.
    #[test]
    fn texts_of_every_length_are_read() {
        for (head, length) in [
            (&[0xa0][..], 0),
            (&[0xa5], 5),
            (&[0xd9, 40], 40),
            (&[0xda, 0x01, 0x00], 256),
            (&[0xdb, 0x00, 0x01, 0x00, 0x00], 65_536),
        ] {
            let text = "x".repeat(length);
            let packed = [head, text.as_bytes(), &[7]].concat();
            let mut reader = MessagePackReader::new(&packed);
            assert_eq!((reader.text(), reader.number(), reader.is_at_end()), (Some(&*text), Some(7), true));
            let truncated = &packed[..packed.len() - 2];
            assert!(length == 0 || MessagePackReader::new(truncated).text().is_none(), "{length}");
        }
        assert_eq!(MessagePackReader::new(&[0x07]).text(), None, "a number");
        assert_eq!(MessagePackReader::new(&[0xa1, 0xff]).text(), None, "not UTF-8");
    }
}
