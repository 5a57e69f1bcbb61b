//! Fuzzes the readers of picture files.
#![allow(clippy::missing_panics_doc)]

use super::Screenshot;

/// Reads any file as a picture, or refuses it. A picture has the pixels of its
/// file, and stays the same through a PNG.
pub fn picture(input: &[u8]) {
    if let Ok(picture) = Screenshot::from_png(input) {
        check(&picture);
    }
    let Ok(picture) = Screenshot::from_ppm(input.to_vec()) else {
        return;
    };
    check(&picture);
    assert!(input.ends_with(picture.rgb()));
    let header = &input[..input.len() - picture.rgb().len()];
    let header = String::from_utf8(header.to_vec()).expect("it is text");
    let size = [picture.width(), picture.height(), 255];
    let sizes: Result<Vec<u32>, _> = header[2..]
        .split_ascii_whitespace()
        .map(str::parse)
        .collect();
    assert_eq!(sizes.as_deref(), Ok(size.as_slice()));
}

fn check(picture: &Screenshot) {
    let (width, height) = (picture.width(), picture.height());
    assert_eq!(picture.rgb().len(), width as usize * height as usize * 3);
    assert!(picture.pixel(width - 1, height - 1).is_some());
    assert!(picture.pixel(width, 0).is_none() && picture.pixel(0, height).is_none());
    if picture.rgb().len() < 1 << 16 {
        let again = Screenshot::from_png(&picture.to_png()).expect("it is a PNG");
        assert!(again == *picture);
    }
}
