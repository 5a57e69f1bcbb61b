//! Pictures as PNG files, with the feature `png`.

use std::fs;
use std::io::{self, Cursor};
use std::path::Path;

use super::Screenshot;

impl Screenshot {
    /// Reads a picture from the bytes of a PNG of any color type. Transparency
    /// is ignored. Needs the feature `png`.
    ///
    /// # Errors
    /// The bytes are not a PNG, or its pixels need more than 64 MiB.
    pub fn from_png(png: &[u8]) -> io::Result<Self> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut decoder = png::Decoder::new(Cursor::new(png));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(invalid)?;
        let size = reader.output_buffer_size();
        let size = size.filter(|&bytes| bytes <= LIMIT_BYTES).ok_or_else(|| {
            let reason = "the picture has no pixels, or needs more than 64 MiB for them";
            io::Error::new(io::ErrorKind::InvalidData, reason)
        })?;
        let mut bytes = vec![0; size];
        let frame = reader.next_frame(&mut bytes).map_err(invalid)?;
        bytes.truncate(frame.buffer_size());
        let rgb = match frame.color_type {
            png::ColorType::Grayscale => bytes.iter().flat_map(|&grey| [grey; 3]).collect(),
            png::ColorType::GrayscaleAlpha => {
                let grey = bytes.chunks_exact(2).map(|pixel| pixel[0]);
                grey.flat_map(|grey| [grey; 3]).collect()
            }
            png::ColorType::Rgba => {
                let pixels = bytes.chunks_exact(4);
                pixels
                    .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
                    .collect()
            }
            _ => bytes,
        };
        Self::from_rgb(frame.width, frame.height, rgb)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the picture has no pixels"))
    }

    /// Reads a picture from a PNG file. Needs the feature `png`.
    ///
    /// # Errors
    /// The file cannot be read, or [`from_png`](Self::from_png) refuses it.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::from_png(&fs::read(path)?)
    }

    /// The picture as a PNG. Needs the feature `png`.
    pub fn to_png(&self) -> Vec<u8> {
        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, self.width(), self.height());
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let written = encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(self.rgb()));
        debug_assert!(
            written.is_ok(),
            "only a size of 0 or a failed write is an error"
        );
        png
    }

    /// Writes the picture to a PNG file. Needs the feature `png`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> io::Result<()> {
        fs::write(path, self.to_png())
    }
}

/// The largest picture that is read from a file. A header can claim any size.
const LIMIT_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use png::ColorType::{Grayscale, GrayscaleAlpha, Rgba};

    use super::super::screenshot::tests::picture;
    use super::*;

    #[test]
    fn a_png_is_the_same_picture() {
        let png = picture().to_png();
        assert!(png.starts_with(b"\x89PNG"));
        assert_eq!(Screenshot::from_png(&png).unwrap(), picture());
        assert!(Screenshot::from_png(&png[..png.len() / 2]).is_err());
        assert!(Screenshot::from_png(b"GIF89a").is_err());
    }

    #[test]
    fn pngs_of_other_kinds_are_read_as_red_green_and_blue() {
        let of_kind = |kind, bytes: &[u8]| {
            let mut png = Vec::new();
            let mut encoder = png::Encoder::new(&mut png, 2, 1);
            encoder.set_color(kind);
            let mut writer = encoder.write_header().unwrap();
            writer.write_image_data(bytes).unwrap();
            drop(writer);
            Screenshot::from_png(&png).unwrap().rgb().to_vec()
        };
        assert_eq!(of_kind(Grayscale, &[1, 2]), [1, 1, 1, 2, 2, 2]);
        assert_eq!(of_kind(GrayscaleAlpha, &[1, 9, 2, 9]), [1, 1, 1, 2, 2, 2]);
        assert_eq!(of_kind(Rgba, &[1, 2, 3, 9, 4, 5, 6, 9]), [1, 2, 3, 4, 5, 6]);
    }
}
