using System.Text;

namespace Contracts;

// Reads the parts of the encoding, one after the other. Guarantees: whatever the bytes are, each step ends and reads no further than they go.
public static partial class FaultSamplesEncoding
{
    private ref struct Cursor(ReadOnlySpan<byte> all)
    {
        private readonly ReadOnlySpan<byte> _all = all;

        public int Position { get; private set; }
        public readonly bool IsAtEnd => Position == _all.Length;

        public bool TryByte(out byte value)
        {
            value = IsAtEnd ? (byte)0 : _all[Position];
            if (IsAtEnd)
                return false;
            Position++;
            return true;
        }

        public bool TryBytes(int count, out ReadOnlySpan<byte> bytes)
        {
            bytes = default;
            if (_all.Length - Position < count)
                return false;
            bytes = _all.Slice(Position, count);
            Position += count;
            return true;
        }

        public bool TryVarint(long most, out long value)
        {
            value = 0;
            for (var index = 0; index < MostVarintBytes && TryByte(out var part); index++)
            {
                value |= (long)(part & 127) << (7 * index);
                if (part < 128)
                    return value <= most && (part != 0 || index == 0);
            }
            return false;
        }

        private int _marked;

        /// <summary>To where the last hash was read.</summary>
        public void Back() => Position = _marked;

        /// <summary>A number of a name (FNV-1a), the same however the name is written. Two names of one number would refuse a sample, of which there is one chance in 10^15.</summary>
        public bool TryNameHash(out ulong hash)
        {
            (hash, _marked) = (0, Position);
            if (!TryVarint(2 * Math.Max(MaxNameLength, FaultWords.All.Count) + 1, out var number))
                return false;
            if ((number & 1) == 0)
            {
                if (number / 2 >= FaultWords.All.Count)
                    return false;
                hash = WordHashes[number / 2];
                return true;
            }
            if (!TryBytes((int)(number / 2), out var bytes))
                return false;
            hash = Hash(bytes);
            return true;
        }

        /// <summary>Null where it is not made.</summary>
        public bool TryName(bool make, out string? name)
        {
            name = null;
            if (!TryVarint(2 * Math.Max(MaxNameLength, FaultWords.All.Count) + 1, out var number))
                return false;
            if ((number & 1) == 0)
            {
                if (number / 2 >= FaultWords.All.Count)
                    return false;
                name = FaultWords.All[(int)(number / 2)];
                return true;
            }
            var length = (int)(number / 2);
            if (length is 0 or > MaxNameLength || !TryBytes(length, out var bytes))
                return false;
            foreach (var b in bytes)
                if (!IsNameByte(b))
                    return false;
            name = make ? Encoding.ASCII.GetString(bytes) : null;
            return true;
        }
    }
}
