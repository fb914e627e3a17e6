//! Files that are damaged or made to harm: pictures, chunks and subtitles.
