/** Python that needs no library to make `png`: 64 by 64 points in two colours. */
export const plainPng = `import struct, zlib
def chunk(kind, data):
  return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
rows = b"".join(b"\\0" + (b"\\xff\\0\\0" * 32 + b"\\0\\0\\xff" * 32) for _ in range(64))
png = b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")`;
