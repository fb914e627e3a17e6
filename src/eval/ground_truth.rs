//! Ground truth of segmentation: mask files.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::ImageReader;

use crate::overlay::voc_colour;
use crate::postprocess::ClassMask;
use mobilens_image::SizePx;

/// Class of pixels without ground truth (void): borders, crowds.
pub const IGNORED: u8 = 255;

/// Why ground truth or results cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A file cannot be read or is not what it should be.
    #[error("{}: {why}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A mask of another size than its picture.
    #[error(
        "{name}: the mask has {}x{} pixels, the picture {}x{}",
        .mask.width, .mask.height, .picture.width, .picture.height
    )]
    Size {
        /// The picture.
        name: String,
        /// Size of the mask.
        mask: SizePx,
        /// Size of the picture.
        picture: SizePx,
    },
}

impl EvalError {
    /// An error in a file.
    pub fn file(path: &Path, why: impl ToString) -> Self {
        Self::File {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }
}

/// Ground truth of a set of pictures.
pub trait GroundTruth {
    /// The mask of the picture `name` of `size`; `None` if there is none.
    ///
    /// # Errors
    /// When the mask is damaged or of another size.
    fn of(&self, name: &str, size: SizePx) -> Result<Option<ClassMask>, EvalError>;
}

/// A folder of masks: `NAME_mask.png` or `NAME.png` (or `.bmp`) for a picture `NAME.*`.
///
/// PNG with a palette holds the classes' numbers; so do grey pictures. Colours are looked up in
/// VOC's palette, and are [`IGNORED`] if they are not in it.
#[derive(Debug)]
pub struct MaskFolder {
    dir: PathBuf,
}

impl MaskFolder {
    /// Takes masks from `dir`.
    ///
    /// # Errors
    /// When it is not a folder.
    pub fn open(dir: &Path) -> Result<Self, EvalError> {
        if dir.is_dir() {
            return Ok(Self {
                dir: dir.to_owned(),
            });
        }
        Err(EvalError::File {
            path: dir.to_owned(),
            why: "not a folder of masks".to_owned(),
        })
    }
}

impl GroundTruth for MaskFolder {
    fn of(&self, name: &str, size: SizePx) -> Result<Option<ClassMask>, EvalError> {
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        if stem.ends_with("_mask") && self.dir.join(name).is_file() {
            // A mask that lies among the pictures is none of them.
            return Ok(None);
        }
        let mut names = ["_mask", ""].into_iter().flat_map(|tail| {
            ["png", "bmp"].map(|ending| self.dir.join(format!("{stem}{tail}.{ending}")))
        });
        let Some(path) = names.find(|path| path.is_file()) else {
            return Ok(None);
        };
        let mask = read_mask(&path).map_err(|why| EvalError::File {
            path: path.clone(),
            why,
        })?;
        if mask.size() == size {
            return Ok(Some(mask));
        }
        Err(EvalError::Size {
            name: name.to_owned(),
            mask: mask.size(),
            picture: size,
        })
    }
}

fn read_mask(path: &Path) -> Result<ClassMask, String> {
    let open = || File::open(path).map(BufReader::new);
    let file = open().map_err(|e| e.to_string())?;
    if let Ok(mut reader) = png::Decoder::new(file).read_info() {
        let info = reader.info();
        if (info.color_type, info.bit_depth) == (png::ColorType::Indexed, png::BitDepth::Eight) {
            let size = SizePx {
                width: info.width,
                height: info.height,
            };
            let bytes = reader.output_buffer_size().ok_or("image too large")?;
            let mut classes = vec![0; bytes];
            reader.next_frame(&mut classes).map_err(|e| e.to_string())?;
            return ClassMask::new(size, classes).ok_or("too few pixels".to_owned());
        }
    }
    let file = open().map_err(|e| e.to_string())?;
    let reader = ImageReader::new(file).with_guessed_format();
    let picture = reader.map_err(|e| e.to_string())?.decode();
    let picture = picture.map_err(|e| e.to_string())?;
    let size = SizePx {
        width: picture.width(),
        height: picture.height(),
    };
    let classes = match picture {
        image::DynamicImage::ImageLuma8(grey) => grey.into_raw(),
        colours => {
            let class_of = |colour: [u8; 3]| {
                // Greys stand for themselves; VOC's palette has only two below its void colour.
                let is_grey = colour[0] == colour[1] && colour[1] == colour[2];
                let in_palette = (0..IGNORED).find(|class| voc_colour(*class) == colour);
                match in_palette {
                    Some(class) if class <= 20 => class,
                    _ if is_grey => colour[0],
                    _ => IGNORED,
                }
            };
            colours
                .into_rgb8()
                .pixels()
                .map(|p| class_of(p.0))
                .collect()
        }
    };
    ClassMask::new(size, classes).ok_or("too few pixels".to_owned())
}
