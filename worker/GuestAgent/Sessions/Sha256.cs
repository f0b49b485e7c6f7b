using System.Buffers.Binary;
using System.Numerics;

namespace GuestAgent.Sessions;

/// <summary>Pure: SHA-256 (FIPS 180-4). .NET's own takes it from OpenSSL, which a guest's image need not have, and ends the process without it.</summary>
internal sealed class Sha256
{
    private const int BlockBytes = 64;
    private static readonly uint[] Constants = Roots(cube: true, 64);
    private readonly uint[] _state = Roots(cube: false, 8);
    private readonly uint[] _words = new uint[64];
    private readonly byte[] _block = new byte[BlockBytes];
    private int _filled;
    private ulong _length;

    public void Append(ReadOnlySpan<byte> data)
    {
        _length += (ulong)data.Length;
        while (data.Length > 0)
        {
            var part = Math.Min(BlockBytes - _filled, data.Length);
            data[..part].CopyTo(_block.AsSpan(_filled));
            data = data[part..];
            _filled += part;
            if (_filled == BlockBytes)
                Compress();
        }
    }

    /// <summary>Hexadecimal, of all that was appended; nothing can be appended afterwards.</summary>
    public string Finish()
    {
        var bits = _length * 8;
        _block[_filled++] = 0x80;
        if (_filled > BlockBytes - sizeof(ulong))
        {
            _block.AsSpan(_filled).Clear();
            Compress();
        }
        _block.AsSpan(_filled).Clear();
        BinaryPrimitives.WriteUInt64BigEndian(_block.AsSpan(BlockBytes - sizeof(ulong)), bits);
        Compress();
        var digest = new byte[32];
        for (var i = 0; i < _state.Length; i++)
            BinaryPrimitives.WriteUInt32BigEndian(digest.AsSpan(i * sizeof(uint)), _state[i]);
        return Convert.ToHexStringLower(digest);
    }

    private void Compress()
    {
        for (var i = 0; i < 16; i++)
            _words[i] = BinaryPrimitives.ReadUInt32BigEndian(_block.AsSpan(i * sizeof(uint)));
        for (var i = 16; i < 64; i++)
        {
            var (near, far) = (_words[i - 2], _words[i - 15]);
            _words[i] = _words[i - 16] + _words[i - 7]
                + (BitOperations.RotateRight(far, 7) ^ BitOperations.RotateRight(far, 18) ^ far >> 3)
                + (BitOperations.RotateRight(near, 17) ^ BitOperations.RotateRight(near, 19) ^ near >> 10);
        }
        var (a, b, c, d, e, f, g, h) = (_state[0], _state[1], _state[2], _state[3], _state[4], _state[5], _state[6], _state[7]);
        for (var i = 0; i < 64; i++)
        {
            var first = h + (BitOperations.RotateRight(e, 6) ^ BitOperations.RotateRight(e, 11) ^ BitOperations.RotateRight(e, 25)) + ((e & f) ^ (~e & g)) + Constants[i] + _words[i];
            var second = (BitOperations.RotateRight(a, 2) ^ BitOperations.RotateRight(a, 13) ^ BitOperations.RotateRight(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
            (h, g, f, e, d, c, b, a) = (g, f, e, d + first, c, b, a, first + second);
        }
        _state[0] += a;
        _state[1] += b;
        _state[2] += c;
        _state[3] += d;
        _state[4] += e;
        _state[5] += f;
        _state[6] += g;
        _state[7] += h;
        _filled = 0;
    }

    /// <summary>The first 32 bits of the fractional parts of the square or cube roots of the first primes: the integer part of root × 2^32, modulo 2^32.</summary>
    private static uint[] Roots(bool cube, int count)
    {
        var roots = new List<uint>();
        for (var candidate = 2; roots.Count < count; candidate++)
            if (IsPrime(candidate))
                roots.Add((uint)(Root(candidate, cube) & uint.MaxValue));
        return [.. roots];
    }

    private static bool IsPrime(int number)
    {
        for (var divisor = 2; divisor * divisor <= number; divisor++)
            if (number % divisor == 0)
                return false;
        return true;
    }

    private static ulong Root(int number, bool cube)
    {
        var power = cube ? 3 : 2;
        var scaled = new BigInteger(number) << (32 * power);
        var (low, high) = (0UL, 1UL << 40);
        while (high - low > 1)
        {
            var middle = low + (high - low) / 2;
            if (BigInteger.Pow(middle, power) <= scaled)
                low = middle;
            else
                high = middle;
        }
        return low;
    }
}
