namespace Worker.Vms;

/// <summary>Hands out a user id of its own to each VM, where the worker is root and may.</summary>
public sealed class UserIds(bool privileged, uint first, int count)
{
    private readonly Lock _lock = new();
    private readonly HashSet<uint> _used = [];

    public bool Privileged => privileged;

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
            throw new VmStartException("NoUserLeft", "Every user id set aside for VMs is in use.", "Raise Worker__UserCount on the node.");
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
