using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace Worker.Vms;

/// <summary>Hands out a user id of its own to each VM, where the worker is root and may.</summary>
public sealed class UserIds(bool privileged, uint first, int count)
{
    private readonly Lock _lock = new();
    private readonly HashSet<uint> _used = [];

    /// <summary>One of 20,000 blocks of 4,096 above those that systemd and container engines hand out, always the same for a directory.</summary>
    public static uint FirstOf(string stateDirectory)
    {
        const uint firstBlock = 1_900_000_000, blocks = 20_000, blockSize = 4096;
        var digest = SHA256.HashData(Encoding.UTF8.GetBytes(Path.TrimEndingDirectorySeparator(Path.GetFullPath(stateDirectory))));
        return firstBlock + (BinaryPrimitives.ReadUInt32LittleEndian(digest) % blocks * blockSize);
    }

    /// <summary>Null when VMs run as the worker's own user.</summary>
    public uint? Take()
    {
        if (!privileged)
            return null;
        lock (_lock)
        {
            for (var offset = 0u; offset < count; offset++)
                if (_used.Add(first + offset))
                    return first + offset;
            throw new VmStartException(StartReasons.NoUserLeft);
        }
    }

    public void Adopt(uint? user)
    {
        if (user is { } id)
            lock (_lock)
                _used.Add(id);
    }

    public void Return(uint? user)
    {
        if (user is { } id)
            lock (_lock)
                _used.Remove(id);
    }
}
