//! Names, links and modes that careless tools stumble over.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::layout::{folder, set_mode, write};
use crate::error::{IoContext, Result};

/// Length of the sparse file, nearly all of it a hole.
const SPARSE_BYTES: u64 = 8 << 20;

const NAMES: &[&[u8]] = &[
    b"new\nline",
    b"\nleading newline",
    b"it's",
    b"double\"quote",
    b"-rf",
    b"--delete",
    b" leading space",
    b"trailing space ",
    b"tab\there",
    b"back\\slash",
    b"\\n",
    b"star*?[a-z]",
    b"$HOME `id` $(id)",
    b"#hash",
    b"percent%41",
    b"~tilde",
    b"colon:name",
    b"semi;colon&pipe|",
    b"...",
    b".hidden",
    "ümläut".as_bytes(),
    "u\u{308}mlaut decomposed".as_bytes(),
    "日本語 ☃ 😀".as_bytes(),
    b"control\x01\x7f",
];

/// Not every file system takes it.
const NO_UTF8: &[u8] = b"no-utf8-\xff\xfe";

pub(super) fn create(home: &Path) -> Result<()> {
    let odd = home.join("shared/data/attachments/odd");
    names(&odd)?;
    links(&odd)?;
    sparse_file(&odd.join("sparse"))?;
    attribute(&odd)?;
    write(&odd.join("setgid/file"), b"in a folder of a group\n")?;
    set_mode(&odd.join("setgid"), 0o2775)?;
    write(&odd.join("script"), b"#!/bin/sh\n")?;
    set_mode(&odd.join("script"), 0o750)?;
    write(&odd.join("read-only/file"), b"nobody writes here\n")?;
    set_mode(&odd.join("read-only/file"), 0o444)?;
    set_mode(&odd.join("read-only"), 0o555)
}

fn names(odd: &Path) -> Result<()> {
    let long = [b'l'; 255];
    for name in NAMES.iter().copied().chain([&long[..]]) {
        let name = OsStr::from_bytes(name);
        write(&odd.join("files").join(name), name.as_bytes())?;
        folder(&odd.join("empty folders").join(name))?;
        write(&odd.join("folders").join(name).join("inside"), b"inside\n")?;
    }
    let name = OsStr::from_bytes(NO_UTF8);
    // Where such names are refused there cannot be any in a home either.
    let _ = std::fs::write(odd.join("files").join(name), b"bytes\n");
    Ok(())
}

fn links(odd: &Path) -> Result<()> {
    let hard = odd.join("hard");
    write(&hard.join("first"), b"one file, three names\n")?;
    folder(&hard.join("below"))?;
    for other in ["second", "below/third"] {
        let other = hard.join(other);
        std::fs::hard_link(hard.join("first"), &other).doing("link", &other)?;
    }
    let soft = odd.join("soft");
    folder(&soft)?;
    for (target, name) in [
        ("nowhere", "dangling"),
        ("/nonexistent/absolute", "dangling absolute"),
        ("../hard", "to a folder"),
        ("../hard/first", "to a file"),
        ("new\nline", "to a\nnewline"),
        ("itself", "itself"),
    ] {
        let link = soft.join(name);
        symlink(target, &link).doing("link", &link)?;
    }
    Ok(())
}

fn sparse_file(path: &Path) -> Result<()> {
    let mut file = File::create(path).doing("create", path)?;
    file.write_all(b"start").doing("write", path)?;
    file.seek(SeekFrom::Start(SPARSE_BYTES - 3))
        .and_then(|_| file.write_all(b"end"))
        .doing("write", path)
}

fn attribute(odd: &Path) -> Result<()> {
    let path = odd.join("with attribute");
    write(&path, b"an extended attribute\n")?;
    // Where extended attributes are not supported there is none to lose.
    let _ = xattr::set(&path, "user.testkit", b"v\xc3\xa4lue\n");
    Ok(())
}
