namespace Worker.Vms.Simulated;

/// <summary>The machine's own time in nanoseconds since its start: it moves only when something is simulated, and never back.</summary>
internal sealed class VirtualClock
{
    public long Now { get; private set; }

    public void AdvanceTo(long at)
    {
        if (at > Now)
            Now = at;
    }
}
