//! Where the lines go.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

/// Standard output, or a file. Everything here may wait for as long as nobody reads.
#[derive(Debug)]
pub(super) struct Output {
    target: Target,
    /// Whether there may be half a line at its end.
    is_torn: bool,
}

#[derive(Debug)]
enum Target {
    /// Without the buffer of [`io::stdout`], which would keep what could not be written.
    Stream(File),
    /// Opened anew for each line, so that lines follow the name when the file is moved away.
    File(PathBuf),
}

impl Output {
    /// What the configuration calls so.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(super) fn of(text: &str) -> io::Result<Self> {
        if text == "stdout" {
            let stdout = io::stdout().as_fd().try_clone_to_owned()?;
            return Ok(Self::stream(stdout.into()));
        }
        let path = PathBuf::from(text);
        // To open a named pipe would wait for whoever reads it.
        let is_special = fs::metadata(&path).is_ok_and(|it| !it.is_file() && !it.is_dir());
        if !is_special {
            append_to(&path)?;
        }
        Ok(Self {
            target: Target::File(path),
            is_torn: false,
        })
    }

    pub(super) fn stream(file: File) -> Self {
        Self {
            target: Target::Stream(file),
            is_torn: false,
        }
    }

    /// Writes a line with its end. If that fails, nothing that looks like it is left.
    pub(super) fn write(&mut self, line: &str) -> io::Result<()> {
        let opened;
        let mut file = match &self.target {
            Target::Stream(file) => file,
            Target::File(path) => {
                opened = append_to(path)?;
                &opened
            }
        };
        let length = file.metadata().ok().filter(fs::Metadata::is_file);
        let length = length.map(|it| it.len());
        let text = match self.is_torn {
            true => format!("\n{line}"),
            false => line.to_owned(),
        };
        let written = file.write_all(text.as_bytes());
        self.is_torn = match (&written, length) {
            (Ok(()), _) => false,
            // On a full disk the file has grown by what found room.
            (Err(_), Some(length)) => file.set_len(length).is_err(),
            (Err(_), None) => true,
        };
        written
    }
}

fn append_to(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_is_ended_before_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        fs::write(&path, "{\"ha").unwrap();
        let mut output = Output::stream(append_to(&path).unwrap());
        output.is_torn = true;
        for line in ["1\n", "2\n"] {
            output.write(line).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"ha\n1\n2\n");
    }
}
