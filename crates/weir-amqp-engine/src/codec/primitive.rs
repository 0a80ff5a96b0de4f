//! Single AMQP values [1.6], read and written by hand.

use bytes::{BufMut, BytesMut};

use super::{Malformed, scan};

/// A position in untrusted bytes. Never reads past the end, never allocates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    buf: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(buf: &'a [u8]) -> Self {
        Self { buf }
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.buf
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    #[inline]
    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self
            .buf
            .split_at_checked(n)
            .ok_or(Malformed("truncated value"))?;
        self.buf = tail;
        Ok(head)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        let (&head, tail) = self.buf.split_first().ok_or(Malformed("truncated value"))?;
        self.buf = tail;
        Ok(head)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self
            .buf
            .split_first_chunk::<N>()
            .ok_or(Malformed("truncated value"))?;
        self.buf = tail;
        Ok(*head)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A size or count: one octet in the 8-bit encodings, four in the others.
    pub(crate) fn width(&mut self, wide: bool) -> Result<usize, Malformed> {
        if wide {
            self.u32().map(|n| n as usize)
        } else {
            self.u8().map(usize::from)
        }
    }

    /// The descriptor of a composite [1.3]; symbols are looked up among the descriptors this engine knows.
    pub(crate) fn descriptor(&mut self) -> Result<u64, Malformed> {
        if self.u8()? != 0 {
            return Err(Malformed("a described type expected"));
        }
        match self.u8()? {
            0x53 => self.u8().map(u64::from),
            0x80 => self.u64(),
            0x44 => Ok(0),
            code @ (0xa3 | 0xb3) => {
                let len = self.width(code == 0xb3)?;
                scan::descriptor_code(self.take(len)?).ok_or(Malformed("unknown descriptor"))
            }
            _ => Err(Malformed("a descriptor expected")),
        }
    }

    /// The list of a composite's fields.
    #[inline]
    pub(crate) fn fields(&mut self) -> Result<Fields<'a>, Malformed> {
        let (body, left) = match self.u8()? {
            0x45 => {
                return Ok(Fields {
                    reader: Self::new(&[]),
                    left: 0,
                });
            }
            code @ (0xc0 | 0xd0) => {
                let wide = code == 0xd0;
                let size = self.width(wide)?;
                let mut body = Self::new(self.take(size)?);
                let count = body.width(wide)?;
                (body, count)
            }
            _ => return Err(Malformed("a list expected")),
        };
        // Every field takes an octet at least.
        if left > body.buf.len() {
            return Err(Malformed("a list counts more fields than it has octets"));
        }
        Ok(Fields { reader: body, left })
    }

    /// The elements of a map, keys and values in turn.
    pub(crate) fn map(&mut self) -> Result<Self, Malformed> {
        let code = self.u8()?;
        if code != 0xc1 && code != 0xd1 {
            return Err(Malformed("a map expected"));
        }
        let wide = code == 0xd1;
        let size = self.width(wide)?;
        let mut body = Self::new(self.take(size)?);
        body.width(wide)?;
        Ok(body)
    }

    /// Steps over one value and returns it, constructor included.
    pub(crate) fn value(&mut self) -> Result<&'a [u8], Malformed> {
        let len = scan::skip(self.buf)?;
        self.take(len)
    }

    #[inline]
    fn uint(&mut self) -> Result<u32, Malformed> {
        match self.u8()? {
            0x43 => Ok(0),
            0x52 => self.u8().map(u32::from),
            0x70 => self.u32(),
            _ => Err(Malformed("uint expected")),
        }
    }

    #[inline]
    fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0x41 => Ok(true),
            0x42 => Ok(false),
            0x56 => Ok(self.u8()? != 0),
            _ => Err(Malformed("boolean expected")),
        }
    }

    /// The octets of a binary, string or symbol, whose 8-bit encoding is `narrow`.
    pub(crate) fn variable(
        &mut self,
        narrow: u8,
        what: &'static str,
    ) -> Result<&'a [u8], Malformed> {
        let code = self.u8()?;
        if code != narrow && code != narrow + 0x10 {
            return Err(Malformed(what));
        }
        let len = self.width(code != narrow)?;
        self.take(len)
    }
}

/// The fields of a composite, in order. Fields that are null or left out at the end read as `None` [1.4].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Fields<'a> {
    #[inline]
    fn next<V>(
        &mut self,
        read: impl FnOnce(&mut Reader<'a>) -> Result<V, Malformed>,
    ) -> Result<Option<V>, Malformed> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        if self.reader.buf.first() == Some(&0x40) {
            self.reader.u8()?;
            return Ok(None);
        }
        read(&mut self.reader).map(Some)
    }

    #[inline]
    pub(crate) fn uint(&mut self) -> Result<Option<u32>, Malformed> {
        self.next(Reader::uint)
    }

    #[inline]
    pub(crate) fn boolean(&mut self) -> Result<Option<bool>, Malformed> {
        self.next(Reader::boolean)
    }

    pub(crate) fn binary(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        self.next(|r| r.variable(0xa0, "binary expected"))
    }

    pub(crate) fn string(&mut self) -> Result<Option<&'a str>, Malformed> {
        self.text(0xa1, "string expected")
    }

    pub(crate) fn symbol(&mut self) -> Result<Option<&'a str>, Malformed> {
        self.text(0xa3, "symbol expected")
    }

    fn text(&mut self, narrow: u8, what: &'static str) -> Result<Option<&'a str>, Malformed> {
        let bytes = self.next(|r| r.variable(narrow, what))?;
        bytes
            .map(|b| std::str::from_utf8(b).map_err(|_| Malformed("text is not UTF-8")))
            .transpose()
    }

    pub(crate) fn timestamp(&mut self) -> Result<Option<i64>, Malformed> {
        self.next(|r| match r.u8()? {
            0x83 => r.u64().map(u64::cast_signed),
            _ => Err(Malformed("timestamp expected")),
        })
    }

    /// The next field as it is, constructor included.
    #[inline]
    pub(crate) fn raw(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        self.next(Reader::value)
    }
}

#[inline]
pub(crate) fn put_uint(out: &mut BytesMut, value: u32) {
    match value {
        0 => out.put_u8(0x43),
        1..=255 => out.put_slice(&[0x52, value as u8]),
        _ => {
            out.put_u8(0x70);
            out.put_u32(value);
        }
    }
}

#[inline]
pub(crate) fn put_boolean(out: &mut BytesMut, value: bool) {
    out.put_u8(if value { 0x41 } else { 0x42 });
}

/// Texts and binaries beyond 4 GiB cannot be; they are cut rather than mis-framed.
fn put_variable(out: &mut BytesMut, narrow: u8, bytes: &[u8]) {
    if let Ok(len) = u8::try_from(bytes.len()) {
        out.put_slice(&[narrow, len]);
        out.put_slice(bytes);
    } else {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        out.put_u8(narrow + 0x10);
        out.put_u32(len);
        out.put_slice(&bytes[..len as usize]);
    }
}

pub(crate) fn put_binary(out: &mut BytesMut, bytes: &[u8]) {
    put_variable(out, 0xa0, bytes);
}

pub(crate) fn put_string(out: &mut BytesMut, text: &str) {
    put_variable(out, 0xa1, text.as_bytes());
}

/// Symbols are ASCII [1.6.21]; other characters become `?`.
pub(crate) fn put_symbol(out: &mut BytesMut, text: &str) {
    let start = out.len();
    put_variable(out, 0xa3, text.as_bytes());
    if !text.is_ascii() {
        let header = if text.len() < 256 { 2 } else { 5 };
        for byte in &mut out[start + header..] {
            if !byte.is_ascii() {
                *byte = b'?';
            }
        }
    }
}

/// An open list or map of the 32-bit encoding whose size is filled in by [`Compound::end`].
pub(crate) struct Compound {
    start: usize,
}

impl Compound {
    pub(crate) fn begin(out: &mut BytesMut, code: u8) -> Self {
        out.put_u8(code);
        let start = out.len();
        out.put_u64(0);
        Self { start }
    }

    /// `count` is the number of elements: keys and values both count in a map.
    pub(crate) fn end(self, out: &mut BytesMut, count: u32) {
        let size = out.len() - self.start - 4;
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        out[self.start..self.start + 4].copy_from_slice(&size.to_be_bytes());
        out[self.start + 4..self.start + 8].copy_from_slice(&count.to_be_bytes());
    }
}

/// A list of at most 255 octets: fields written by `fields`, which returns their number. Callers
/// bound what they write.
#[inline]
pub(crate) fn put_list8(out: &mut BytesMut, fields: impl FnOnce(&mut BytesMut) -> u8) {
    out.put_slice(&[0xc0, 0, 0]);
    let start = out.len();
    let count = fields(out);
    out[start - 2] = (out.len() - start + 1) as u8;
    out[start - 1] = count;
}
