using System.Text;
using Contracts;

namespace GuestAgent;

// Reads the guest's kernel log from the beginning of the boot, or as far back as its ring still goes, and counts the SMMU's events in it.
// Guarantees: never waits; at most MostRecords records at a time, the rest at the next; records that were overwritten before they were read are passed over.
// On a crash: the next agent reads from the beginning again, so nothing is counted twice. What the ring has lost meanwhile is missing.
internal sealed unsafe class KernelLog(string path)
{
    public const int MostRecords = 2048;
    private const int RecordBytes = 8192;
    private readonly SmmuEventCounts _counts = new();
    private int? _descriptor;
    private bool _failed;

    public AgentSmmuLog Read()
    {
        _descriptor ??= LibC.Open(path, LibC.ReadOnly | LibC.NonBlock | LibC.CloseOnExec);
        if (_descriptor < 0 || _failed)
            return new(null, AgentReasons.LogUnreadable);
        Drain(_descriptor.Value);
        return _failed ? new(null, AgentReasons.LogUnreadable) : new(_counts.Counts, null);
    }

    /// <summary>Each read gives one record.</summary>
    private void Drain(int descriptor)
    {
        var buffer = stackalloc byte[RecordBytes];
        for (var record = 0; record < MostRecords; record++)
        {
            var length = LibC.Read(descriptor, buffer, RecordBytes);
            if (length > 0)
                Take(new ReadOnlySpan<byte>(buffer, (int)length));
            else if (length == 0 || LibC.LastError == LibC.EAgain)
                return;
            else if (LibC.LastError is not LibC.EPipe and not LibC.EIntr)
            {
                _failed = true;
                return;
            }
        }
    }

    private void Take(ReadOnlySpan<byte> record)
    {
        if (record.IndexOf("arm-smmu-v3"u8) >= 0)
            _counts.Take(Encoding.UTF8.GetString(record));
    }
}
