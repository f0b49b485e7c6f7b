using Contracts;
using GuestAgent;
using Xunit;

namespace Worker.Tests.GuestAgentParts;

public sealed class SmmuEventCountsTests
{
    private static string Line(string text, string smmu = "9050000.smmuv3") => $"3,1,1,-;arm-smmu-v3 {smmu}: {text}\n SUBSYSTEM=platform\n";

    private static IReadOnlyDictionary<string, long> Count(params IEnumerable<string> records)
    {
        var counts = new SmmuEventCounts();
        foreach (var record in records)
            counts.Take(record);
        return counts.Counts;
    }

    private static IEnumerable<string> Raw(byte id, string smmu = "9050000.smmuv3") =>
        [Line($"event 0x{id:x2} received:", smmu), .. Enumerable.Range(0, 4).Select(n => Line($"\t0x{n:x16}", smmu))];

    private static string Decoded(string type, string smmu = "9050000.smmuv3") => Line($"event: {type} client: 0000:01:00.0 sid: 0x100 ssid: 0x0", smmu);

    [Fact]
    public void Take_OfAKernelThatTellsNumbers_CountsEachByItsName() =>
        Assert.Equal(new Dictionary<string, long> { ["F_TRANSLATION"] = 2, ["C_BAD_STE"] = 1, ["UNKNOWN"] = 1 }, Count([.. Raw(0x10), .. Raw(0x04), .. Raw(0x10), .. Raw(0xee)]));

    [Fact]
    public void Take_OfAKernelThatTellsNumbersAndNames_CountsEachOnce() =>
        Assert.Equal(new Dictionary<string, long> { ["F_TRANSLATION"] = 2, ["F_PERMISSION"] = 1 },
            Count([.. Raw(0x10), Decoded("F_TRANSLATION"), .. Raw(0x13), Decoded("F_PERMISSION"), .. Raw(0x10), Decoded("F_TRANSLATION")]));

    [Fact]
    public void Take_WhenTheNumberWasOverwritten_CountsTheName() => Assert.Equal(2, Count([Decoded("F_TRANSLATION"), .. Raw(0x10), Decoded("F_TRANSLATION")])["F_TRANSLATION"]);

    [Fact]
    public void Take_WhenTwoSmmusTellAtOnce_KeepsThemApart() =>
        Assert.Equal(new Dictionary<string, long> { ["F_TRANSLATION"] = 1, ["F_ACCESS"] = 1 },
            Count([.. Raw(0x10, "a"), .. Raw(0x12, "b"), Decoded("F_TRANSLATION", "a"), Decoded("F_ACCESS", "b")]));

    [Fact]
    public void Take_OfMoreTypesThanTheWorkerTakes_CountsTheRestTogether()
    {
        var counts = Count(Enumerable.Range(0, 100).Select(n => Decoded($"F_{n}")));
        Assert.Equal(AgentSmmuLog.MaxTypes, counts.Count);
        Assert.Equal(100 - (AgentSmmuLog.MaxTypes - 1), counts[SmmuEventCounts.Other]);
    }

    [Fact]
    public void Read_OfALog_CountsNothingTwiceAndReadsItsEndToo()
    {
        using var root = new TemporaryDirectory();
        using var pipe = new RecordPipe(root.Of("kmsg"));
        pipe.Write(Line("event 0x10 received:"));
        var log = new KernelLog(root.Of("kmsg"));
        Assert.Equal(1, log.Read().Events!["F_TRANSLATION"]);
        Assert.Equal(1, log.Read().Events!["F_TRANSLATION"]);
        pipe.Write("6,2,1,-;something else");
        pipe.Write(Line("event 0x13 received:"));
        Assert.Equal((1, 1, null), (log.Read().Events!["F_TRANSLATION"], log.Read().Events!["F_PERMISSION"], log.Read().Reason));
    }

    [Fact]
    public void Read_OfALogThatCannotBeOpened_SaysSo()
    {
        using var root = new TemporaryDirectory();
        var told = new KernelLog(root.Of("absent")).Read();
        Assert.Equal((null, AgentReasons.LogUnreadable), (told.Events, told.Reason));
        // A directory opens, and reading it fails.
        told = new KernelLog(root.FullPath).Read();
        Assert.Equal((null, AgentReasons.LogUnreadable), (told.Events, told.Reason));
    }

    /// <summary>Gives padded records one at a time, as the kernel does.</summary>
    private sealed class RecordPipe : IDisposable
    {
        private readonly FileStream _pipe;

        public RecordPipe(string path)
        {
            using var made = System.Diagnostics.Process.Start("mkfifo", [path]);
            made.WaitForExit();
            _pipe = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        }

        public void Write(string record) => _pipe.Write(System.Text.Encoding.ASCII.GetBytes(record.PadRight(8192)));

        public void Dispose() => _pipe.Dispose();
    }
}
