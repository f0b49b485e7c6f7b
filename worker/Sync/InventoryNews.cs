using System.Text.Json;
using Contracts;
using Worker.Checks;
using Worker.Hardware;

namespace Worker.Sync;

// When one connection's API must be told of the host: first of all, and whenever what it was told is no longer so; looked at every ten seconds, for the telling of
// a thousand functions is long.
internal sealed class InventoryNews(NodeDevices devices, QemuFacts qemu, TimeProvider time)
{
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(10);
    private byte[] _told = [];
    private long? _comparedAt;

    /// <summary>Null when there is nothing to tell.</summary>
    public NodeInventory? Next()
    {
        if (_comparedAt is { } at && time.GetElapsedTime(at) < Period)
            return null;
        _comparedAt = time.GetTimestamp();
        var inventory = InventoryReport.Of(devices.Inventory, qemu, time.GetUtcNow());
        var text = JsonSerializer.SerializeToUtf8Bytes(inventory with { ReadAt = default }, NodeJson.Default.NodeInventory);
        if (text.AsSpan().SequenceEqual(_told))
            return null;
        _told = text;
        return inventory;
    }
}
