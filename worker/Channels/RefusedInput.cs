namespace Worker.Channels;

/// <summary>Who told what was not understood.</summary>
internal enum UntrustedPeer { Agent, Vmm, Trace, Simulation }

/// <summary>How often untrusted peers told something that was not understood, in all guests since this process began: for its metrics.</summary>
internal static class RefusedInput
{
    private static readonly long[] Counts = new long[Enum.GetValues<UntrustedPeer>().Length];

    public static void Add(UntrustedPeer from, long count = 1) => Interlocked.Add(ref Counts[(int)from], count);

    public static long Of(UntrustedPeer from) => Interlocked.Read(ref Counts[(int)from]);
}
