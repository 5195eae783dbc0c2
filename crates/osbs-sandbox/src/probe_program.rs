//! The smallest program there is for each architecture: an ELF file of one segment that exits with 0. It shows what
//! runs here without anything from an image or from the machine's own file system.

use rustix::fs::StatVfsMountFlags;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// What tells one architecture's programs from another's (the ELF header of the System V ABI and its supplements).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// GOARCH.
    pub goarch: &'static str,
    /// What QEMU calls it.
    pub qemu: &'static str,
    /// 64 or 32 bit.
    wide: bool,
    /// Byte order.
    big_endian: bool,
    /// `e_machine`.
    number: u16,
    /// `e_flags`.
    flags: u32,
    /// exit(0), by the architecture's system call convention.
    code: &'static [u8],
}

/// Little-endian and 64 bit unless said otherwise.
pub(crate) const MACHINES: [Machine; 7] = [
    Machine {
        goarch: "amd64",
        qemu: "x86_64",
        wide: true,
        big_endian: false,
        number: 62,
        flags: 0,
        // mov eax, 60; xor edi, edi; syscall
        code: b"\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05",
    },
    Machine {
        goarch: "arm64",
        qemu: "aarch64",
        wide: true,
        big_endian: false,
        number: 183,
        flags: 0,
        // mov x0, #0; mov x8, #93; svc #0
        code: b"\x00\x00\x80\xd2\xa8\x0b\x80\xd2\x01\x00\x00\xd4",
    },
    Machine {
        goarch: "ppc64le",
        qemu: "ppc64le",
        wide: true,
        big_endian: false,
        number: 21,
        flags: 2,
        // li r0, 1; li r3, 0; sc
        code: b"\x01\x00\x00\x38\x00\x00\x60\x38\x02\x00\x00\x44",
    },
    Machine {
        goarch: "s390x",
        qemu: "s390x",
        wide: true,
        big_endian: true,
        number: 22,
        flags: 0,
        // lghi %r2, 0; svc 1
        code: b"\xa7\x29\x00\x00\x0a\x01",
    },
    Machine {
        goarch: "arm",
        qemu: "arm",
        wide: false,
        big_endian: false,
        number: 40,
        flags: 0x0500_0000,
        // mov r7, #1; mov r0, #0; svc #0
        code: b"\x01\x70\xa0\xe3\x00\x00\xa0\xe3\x00\x00\x00\xef",
    },
    Machine {
        goarch: "riscv64",
        qemu: "riscv64",
        wide: true,
        big_endian: false,
        number: 243,
        flags: 0,
        // li a0, 0; li a7, 93; ecall
        code: b"\x13\x05\x00\x00\x93\x08\xd0\x05\x73\x00\x00\x00",
    },
    Machine {
        goarch: "386",
        qemu: "i386",
        wide: false,
        big_endian: false,
        number: 3,
        flags: 0,
        // mov eax, 1; xor ebx, ebx; int 0x80
        code: b"\xb8\x01\x00\x00\x00\x31\xdb\xcd\x80",
    },
];

/// By GOARCH.
pub(crate) fn machine(goarch: &str) -> Option<&'static Machine> {
    MACHINES.iter().find(|machine| machine.goarch == goarch)
}

/// The one this binary was compiled for.
pub(crate) fn native_machine() -> &'static Machine {
    let goarch = osbs_types::Platform::native().architecture().name;
    machine(&goarch).unwrap_or(&MACHINES[0])
}

impl Machine {
    fn half(&self, value: u16) -> [u8; 2] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn word(&self, value: u32) -> [u8; 4] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    /// An address or offset: as wide as the machine.
    fn address(&self, value: u32) -> Vec<u8> {
        match (self.wide, self.big_endian) {
            (false, _) => self.word(value).to_vec(),
            (true, false) => u64::from(value).to_le_bytes().to_vec(),
            (true, true) => u64::from(value).to_be_bytes().to_vec(),
        }
    }

    /// The first twenty bytes of an executable: what binfmt_misc looks at.
    pub(crate) fn magic(&self) -> Vec<u8> {
        let class = if self.wide { 2 } else { 1 };
        let order = if self.big_endian { 2 } else { 1 };
        let mut bytes = vec![0x7f, b'E', b'L', b'F', class, order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(self.half(2));
        bytes.extend(self.half(self.number));
        bytes
    }

    /// Which bits of them count: not the OS ABI (GNU programs say 3 there), and of the type not the bit that tells
    /// ET_EXEC from ET_DYN, for position independent programs.
    pub(crate) fn mask(&self) -> Vec<u8> {
        let mut bytes = vec![0xff; 20];
        bytes[7] = 0;
        bytes[if self.big_endian { 17 } else { 16 }] = 0xfe;
        bytes
    }

    fn program(&self) -> Vec<u8> {
        const BASE: u32 = 0x1_0000;
        let (header, segment) = if self.wide { (64_u16, 56_u16) } else { (52, 32) };
        let start = u32::from(header + segment);
        let length = start + self.code.len() as u32;
        let mut bytes = self.magic();
        bytes.extend(self.word(1));
        bytes.extend(self.address(BASE + start));
        bytes.extend(self.address(u32::from(header)));
        bytes.extend(self.address(0));
        bytes.extend(self.word(self.flags));
        for value in [header, segment, 1, 0, 0, 0] {
            bytes.extend(self.half(value));
        }
        // One PT_LOAD of the whole file, readable and executable; p_flags moved when ELF became 64 bit.
        let read_execute = self.word(5);
        bytes.extend(self.word(1));
        if self.wide {
            bytes.extend(read_execute);
        }
        for value in [0, BASE, BASE, length, length] {
            bytes.extend(self.address(value));
        }
        if !self.wide {
            bytes.extend(read_execute);
        }
        bytes.extend(self.address(0x1000));
        bytes.extend(self.code);
        bytes
    }
}

/// Writes the program for `machine` as an executable file.
pub(crate) fn write_probe_program(path: &Path, machine: &Machine) -> io::Result<()> {
    std::fs::write(path, machine.program())?;
    std::fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// A temporary folder from which programs may be run.
pub(crate) fn probe_dir() -> io::Result<tempfile::TempDir> {
    let may_execute =
        |dir: &&str| rustix::fs::statvfs(*dir).is_ok_and(|fs| !fs.f_flag.contains(StatVfsMountFlags::NOEXEC));
    let dir = ["/tmp", "/var/tmp", "/var/lib"].into_iter().find(may_execute).unwrap_or("/tmp");
    tempfile::Builder::new().prefix("osbs-probe-").tempdir_in(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_native_one_runs() {
        let dir = probe_dir().unwrap();
        let path = dir.path().join("probe");
        write_probe_program(&path, native_machine()).unwrap();
        assert!(std::process::Command::new(&path).status().unwrap().success());
    }

    #[test]
    fn magic_matches_real_programs() {
        let real = std::fs::read("/proc/self/exe").unwrap();
        let machine = native_machine();
        let matches = |machine: &Machine| {
            let pairs = machine.magic().into_iter().zip(machine.mask());
            pairs.zip(&real).all(|((magic, mask), byte)| magic & mask == byte & mask)
        };
        assert!(matches(machine));
        assert!(MACHINES.iter().filter(|other| *other != machine).all(|other| !matches(other)));
    }
}
