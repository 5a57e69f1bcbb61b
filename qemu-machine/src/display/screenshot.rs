//! A picture of a screen: its pixels, their comparison, and QEMU's file format.

use std::fmt;
use std::io;

/// A picture of a screen: rows of pixels from top to bottom, each from left to
/// right.
#[derive(Clone, PartialEq, Eq)]
pub struct Screenshot {
    width: u32,
    height: u32,
    /// Three bytes for each pixel; never empty.
    rgb: Vec<u8>,
}

/// How much two pictures may differ and still match. Pictures of different
/// sizes never match.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// How far each of red, green and blue may differ, of 255. A larger
    /// difference makes the pixel count as different.
    pub channel: u8,
    /// The share of all pixels that may be different: 0.01 is one in a hundred.
    pub share: f64,
}

impl Screenshot {
    /// A picture of these pixels, three bytes each; `None` if there are none,
    /// or their number does not match the size.
    pub fn from_rgb(width: u32, height: u32, rgb: Vec<u8>) -> Option<Self> {
        let pixels = (width as usize).checked_mul(height as usize)?;
        let fits = pixels > 0 && pixels.checked_mul(CHANNELS)? == rgb.len();
        fits.then_some(Self { width, height, rgb })
    }

    /// Reads a picture from the bytes of a PPM, as [`to_ppm`](Self::to_ppm) and
    /// QEMU write it: binary, 8 bits a channel, without comments.
    ///
    /// # Errors
    /// The bytes are not such a PPM.
    pub fn from_ppm(ppm: Vec<u8>) -> io::Result<Self> {
        Self::read_ppm(ppm).map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))
    }

    /// Like [`from_ppm`](Self::from_ppm), with the reason as the error.
    pub(super) fn read_ppm(ppm: Vec<u8>) -> Result<Self, &'static str> {
        const NO_PPM: &str = "the file has no valid PPM header";
        let mut rest = ppm.strip_prefix(b"P6").ok_or(NO_PPM)?;
        let mut number = || {
            rest = rest.trim_ascii_start();
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (number, behind) = rest.split_at(digits);
            rest = behind;
            std::str::from_utf8(number).ok()?.parse::<u32>().ok()
        };
        let sizes = (number(), number(), number());
        let (Some(width), Some(height), Some(255)) = sizes else {
            return Err(NO_PPM);
        };
        let Some((b' ' | b'\n', pixels)) = rest.split_first() else {
            return Err(NO_PPM);
        };
        let header = ppm.len() - pixels.len();
        let mut rgb = ppm;
        rgb.drain(..header);
        Self::from_rgb(width, height, rgb).ok_or("the number of pixels does not match the header")
    }

    /// The width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// The height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// All pixels, three bytes each: red, green, blue.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Red, green and blue of the pixel in column `x` and row `y`, counted from
    /// 0 at the top left; `None` outside of the picture.
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        if x >= self.width {
            return None;
        }
        let index = y as usize * self.width as usize + x as usize;
        let pixel = self.rgb.get(index * CHANNELS..)?.first_chunk();
        pixel.copied()
    }

    /// The picture as a PPM: a simple format of three bytes a pixel, which many
    /// programs read. PNG output needs the feature `png`.
    ///
    /// # Examples
    /// ```no_run
    /// # fn keep(shown: &qemu_machine::display::Screenshot) -> std::io::Result<()> {
    /// std::fs::write("shown.ppm", shown.to_ppm())
    /// # }
    /// ```
    pub fn to_ppm(&self) -> Vec<u8> {
        let mut ppm = format!("P6\n{} {}\n255\n", self.width, self.height).into_bytes();
        ppm.extend_from_slice(&self.rgb);
        ppm
    }

    /// The share of pixels that differ from another picture, from 0 to 1.
    ///
    /// A pixel differs if red, green or blue differs by more than `channel` of
    /// 255. For pictures of different sizes the result is 1.
    pub fn difference(&self, other: &Self, channel: u8) -> f64 {
        if (self.width, self.height) != (other.width, other.height) {
            return 1.0;
        }
        let is_off = |(a, b): (&u8, &u8)| a.abs_diff(*b) > channel;
        let pairs = self
            .rgb
            .chunks_exact(CHANNELS)
            .zip(other.rgb.chunks_exact(CHANNELS));
        let different = pairs.filter(|(a, b)| a != b && a.iter().zip(*b).any(is_off));
        // No screen has 2^52 pixels.
        #[allow(clippy::cast_precision_loss)]
        let share = different.count() as f64 / (self.rgb.len() / CHANNELS) as f64;
        share
    }

    /// Whether another picture is the same, within this tolerance.
    pub fn matches(&self, other: &Self, tolerance: Tolerance) -> bool {
        let same_size = (self.width, self.height) == (other.width, other.height);
        same_size && self.difference(other, tolerance.channel) <= tolerance.share
    }
}

impl fmt::Debug for Screenshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Screenshot({}x{})", self.width, self.height)
    }
}

impl Tolerance {
    /// No pixel may be different.
    pub const EXACT: Self = Self {
        channel: 0,
        share: 0.0,
    };
}

/// Red, green, blue.
const CHANNELS: usize = 3;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Four pixels: black, red, grey, white.
    pub(in super::super) fn picture() -> Screenshot {
        let rgb = [[0, 0, 0], [255, 0, 0], [128, 128, 128], [255, 255, 255]];
        Screenshot::from_rgb(2, 2, rgb.concat()).unwrap()
    }

    #[test]
    fn what_qemu_writes_is_read() {
        let mut ppm = b"P6\n2 2\n255\n".to_vec();
        ppm.extend_from_slice(picture().rgb());
        assert_eq!(picture().to_ppm(), ppm);
        assert_eq!(Screenshot::from_ppm(ppm.clone()).unwrap(), picture());
        assert_eq!(picture().pixel(1, 0), Some([255, 0, 0]));
        assert_eq!(picture().pixel(0, 1), Some([128, 128, 128]));
        assert_eq!((picture().pixel(2, 0), picture().pixel(0, 2)), (None, None));
        for cut in 0..ppm.len() {
            assert!(Screenshot::from_ppm(ppm[..cut].to_vec()).is_err(), "{cut}");
        }
        for strange in [
            "P5\n1 1\n255\nx",
            "P6\n1 1\n65535\nxxxxxx",
            "P6\n0 0\n255\n",
            "P6\n-1 1\n255\n",
        ] {
            assert!(Screenshot::from_ppm(strange.into()).is_err(), "{strange}");
        }
        let huge = format!("P6\n{max} {max}\n255\nxxx", max = u32::MAX);
        assert!(Screenshot::from_ppm(huge.into()).is_err());
    }

    #[test]
    #[allow(clippy::float_cmp)]
    fn a_tolerance_is_of_channels_and_of_pixels() {
        let mut other = picture();
        other.rgb[0] = 10;
        other.rgb[5] = 3;
        let difference = |channel| picture().difference(&other, channel);
        let differences = [difference(0), difference(3), difference(9), difference(10)];
        assert_eq!(differences, [0.5, 0.25, 0.25, 0.0]);
        let matches = |channel, share| picture().matches(&other, Tolerance { channel, share });
        assert!(matches(10, 0.0) && matches(0, 0.5) && matches(3, 0.25));
        assert!(!matches(9, 0.0) && !matches(0, 0.25));
        assert!(picture().matches(&picture(), Tolerance::EXACT));

        let wide = Screenshot::from_rgb(4, 1, picture().rgb).unwrap();
        assert_eq!(picture().difference(&wide, 255), 1.0);
        let all = Tolerance {
            channel: 255,
            share: 1.0,
        };
        assert!(!picture().matches(&wide, all));
    }
}
