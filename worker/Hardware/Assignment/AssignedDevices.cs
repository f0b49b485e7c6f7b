using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Checks;
using Worker.Hardware.Pci;
using Worker.Hardware.Verdicts;

namespace Worker.Hardware.Assignment;

/// <summary>One offered function as reports show it.</summary>
public sealed record OfferedView(OfferedFunction Device, Failure? Quarantine, Verdict Verdict);

// The functions of the host that guests are given. The one writer of who holds them and of their quarantines.
// Guarantees: a device is held by at most one sandbox, its whole IOMMU group with it; it is free again only once it was seen clean, else quarantined
// with the reason, or refused while a driver is not loaded; a quarantine outlives the worker. No lock is held while the host is changed or looked at: one device that hangs stops no other,
// and nothing that hangs stops a report.
// On a crash: who holds what is rebuilt from the records of the adopted sandboxes; what nobody holds is cleaned before its next tenant.
public sealed class AssignedDevices(
    IReadOnlyList<PassthroughOptions> rules, HostTree tree, IHostControl host, HardwareInventory inventory, QemuFacts vmm, string stateDirectory,
    TimeProvider time, ILogger log)
{
    private static readonly TimeSpan LookPeriod = TimeSpan.FromSeconds(10);
    /// <summary>Where no function is offered: for readiness only.</summary>
    private static readonly TimeSpan IdleLookPeriod = TimeSpan.FromSeconds(30);
    private readonly Lock _lock = new();
    private readonly DeviceTenancy _tenancy = new(tree, host, vmm);
    private readonly DeviceLedger _ledger = new(Path.Combine(stateDirectory, "devices"));
    private readonly BackgroundLook _look = new(time, log);
    private readonly Dictionary<string, Guid> _holders = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Failure?> _quarantines = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Failure> _refusals = new(StringComparer.Ordinal);
    private readonly HashSet<string> _clean = new(StringComparer.Ordinal);
    private readonly HashSet<string> _lifting = new(StringComparer.Ordinal);
    private readonly Dictionary<PciAddress, SmmuHardware> _asked = [];
    private IReadOnlyList<OfferedFunction> _offered = [];
    private HardwareInventory? _seen;

    /// <summary>How long a report, and how long a tenancy, waits for a look at the host.</summary>
    internal TimeSpan LookLimit { get; init; } = TimeSpan.FromSeconds(3);
    internal TimeSpan FreshLimit { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>Why what is told of the devices is not of now; null when it is.</summary>
    public Failure? Problem => _look.Problem;

    /// <summary>The host as it was last looked at.</summary>
    public HardwareInventory Inventory
    {
        get
        {
            lock (_lock)
                return _asked.Count == 0 ? _seen ?? inventory : (_seen ?? inventory) with { Asked = inventory.Asked.Where(a => !_asked.ContainsKey(a.Key)).Concat(_asked).ToDictionary() };
        }
    }

    public IReadOnlyList<OfferedView> Views()
    {
        _look.IfOlderThan(rules.Count == 0 ? IdleLookPeriod : LookPeriod, LookLimit, Look);
        var host = Inventory;
        lock (_lock)
            return [.. _offered.Select(d => new OfferedView(d, QuarantineOf(d), SvaChain.Judge(d.Function, host, vmm)))];
    }

    public Verdict? VerdictOf(string address) => Find(address) is { } device ? SvaChain.Judge(device.Function, Inventory, vmm) : null;

    /// <summary>Null when the sandbox has it now.</summary>
    public DeviceProblem? TryHold(Guid sandbox, string address)
    {
        if (rules.Count > 0)
            _look.IfOlderThan(LookPeriod, LookLimit, Look);
        lock (_lock)
        {
            if (_offered.FirstOrDefault(d => d.Address == address) is not { } device)
                return AssignmentReasons.Missing.With($"It is {address}.");
            // Its group goes with it, whatever has become of that one of it which was offered first.
            foreach (var member in (IEnumerable<string>)[address, .. device.Parked.Select(parked => parked.ToString())])
                if (_holders.TryGetValue(member, out var holder) && holder != sandbox)
                    return AssignmentReasons.Busy.With($"It is {member}, held by {holder}.");
            if (!_holders.ContainsKey(address) && QuarantineOf(device) is { } quarantine)
                return new DeviceProblem(quarantine.Reason, $"{address} is not handed out: {quarantine.Message}", quarantine.Remedy);
            _holders[address] = sandbox;
            return null;
        }
    }

    /// <summary>Whether a sandbox has any, whose end takes as long as cleaning does.</summary>
    public bool HoldsAny
    {
        get
        {
            lock (_lock)
                return _holders.Count > 0;
        }
    }

    /// <summary>A sandbox of an earlier worker has it, whatever became of it meanwhile.</summary>
    public void Adopt(Guid sandbox, string address)
    {
        lock (_lock)
            _holders[address] = sandbox;
    }

    public void LetGo(Guid sandbox, string address)
    {
        lock (_lock)
            if (_holders.TryGetValue(address, out var holder) && holder == sandbox)
                _holders.Remove(address);
    }

    public IReadOnlyList<string> HeldBy(Guid sandbox)
    {
        lock (_lock)
            return [.. _holders.Where(h => h.Value == sandbox).Select(h => h.Key)];
    }

    /// <summary>A <see cref="DeviceException"/> when it could not be made ready; it is quarantined then if that was its own fault.</summary>
    public async Task<AssignedFunction> PrepareAsync(string address, Vmm vmmKind, uint? user, CancellationToken ct)
    {
        // What the host does with a device must be known as of now before it is taken from it.
        if (!await _look.AnewAsync(FreshLimit, Look, ct))
            throw new DeviceException(AssignmentReasons.ScanHangs.With(), quarantines: false);
        if (Find(address) is not { } device)
            throw new DeviceException(AssignmentReasons.Missing.With($"It is {address}."), quarantines: false);
        if (device.Refusal is { } refusal)
            throw new DeviceException(refusal, quarantines: false);
        Remember(device);
        bool clean;
        lock (_lock)
            clean = _clean.Remove(address) && _tenancy.IsOnVfio(device); // Where the host's own driver had it meanwhile, nobody knows.
        try
        {
            var ready = await _tenancy.PrepareAsync(device, vmmKind, Inventory, clean, user, ct);
            if (ready.Translation is { } told)
                lock (_lock)
                    _asked[device.Function.Address] = told;
            return ready;
        }
        catch (DeviceException problem) when (problem.Quarantines)
        {
            Quarantine(device.Function.Address, problem.Problem);
            throw;
        }
    }

    /// <summary>Cleans it after its tenant and gives it back, or quarantines it. Either way the sandbox has it no longer. Nothing is done to one that it does not
    /// have: a release that is repeated must not reach the next tenant.</summary>
    public async Task ReleaseAsync(Guid sandbox, string address, CancellationToken ct)
    {
        lock (_lock)
            if (!_holders.TryGetValue(address, out var holder) || holder != sandbox)
                return;
        if (PciAddress.TryParse(address, out var at))
        {
            var fresh = await _look.AnewAsync(FreshLimit, Look, ct);
            var device = FindHeld(at);
            if (device is not null && !IsQuarantined(at))
                await CleanAsync(device, ct);
            else if (Inventory.Functions.FirstOrDefault(f => f.Address == at) is { } function)
                // The user's number goes to another VM, whatever becomes of the device.
                _tenancy.TakeBack(function);
            if (device is null)
                Quarantine(at, (fresh ? AssignmentReasons.NotOffered : AssignmentReasons.ScanHangs).With());
        }
        LetGo(sandbox, address);
    }

    /// <summary>What keeps a released device from being clean; null when nothing does.</summary>
    public string? NotClean(string address)
    {
        Failure? quarantine;
        bool offered;
        lock (_lock)
            (quarantine, offered) = (_quarantines.GetValueOrDefault(address), _offered.Any(d => d.Address == address));
        return quarantine is not null ? $"{address} is quarantined: {quarantine.Reason}." : offered ? null : $"{address} is not there any more.";
    }

    /// <summary>Cleans a device whose quarantine an operator has lifted; ends when it is free or quarantined again. False when there was nothing to lift:
    /// a refusal ends with its cause and not by a wish.</summary>
    public async Task<bool> LiftAsync(PlannedDevice lifted, CancellationToken ct)
    {
        Failure? quarantine;
        lock (_lock)
        {
            quarantine = _quarantines.GetValueOrDefault(lifted.Address);
            if (quarantine is null || quarantine.At != lifted.LiftQuarantineOf || _holders.ContainsKey(lifted.Address) || !_lifting.Add(lifted.Address))
                return false;
        }
        try
        {
            var fresh = await _look.AnewAsync(FreshLimit, Look, ct);
            if (fresh && Find(lifted.Address) is { Refusal: null } device)
            {
                Remember(device);
                await CleanAsync(device, ct, lifts: true);
            }
            else
                Quarantine(Parse(lifted.Address), !fresh ? AssignmentReasons.ScanHangs.With() : Find(lifted.Address)?.Refusal ?? AssignmentReasons.Missing.With());
            return true;
        }
        finally
        {
            lock (_lock)
                _lifting.Remove(lifted.Address);
        }
    }

    private async Task CleanAsync(OfferedFunction device, CancellationToken ct, bool lifts = false)
    {
        var entry = _ledger.Read(device.Function.Address, time.GetUtcNow());
        if (await _tenancy.CleanAsync(device, Inventory, entry.Drivers, ct) is { } failed)
        {
            // Nothing is wrong with one whose driver is not loaded: it is refused until it is, and then made clean before its next tenant.
            if (failed.Quarantines || lifts)
                Quarantine(device.Function.Address, failed.Problem);
            else
                log.LogWarning("Device {Device} is not cleaned yet: {Reason}: {Message}", device.Address, failed.Problem.Reason, failed.Problem.Message);
            return;
        }
        if (lifts)
            _ledger.Write(device.Function.Address, entry with { Quarantine = null });
        lock (_lock)
        {
            _clean.Add(device.Address);
            if (lifts)
                _quarantines[device.Address] = null;
        }
        log.LogInformation("Device {Device} is clean", device.Address);
    }

    private void Quarantine(PciAddress address, DeviceProblem problem)
    {
        var failure = problem.ToFailure(time.GetUtcNow());
        log.LogError("Device {Device} is quarantined: {Reason}: {Message}", address, failure.Reason, failure.Message);
        _ledger.Write(address, _ledger.Read(address, failure.At) with { Quarantine = failure });
        lock (_lock)
        {
            _quarantines[address.ToString()] = failure;
            _clean.Remove(address.ToString());
        }
    }

    /// <summary>Before the first unbinding, so that cleaning and giving back work after a crash, and where the settings say nothing of the device any more.</summary>
    private void Remember(OfferedFunction device)
    {
        var entry = _ledger.Read(device.Function.Address, time.GetUtcNow());
        var drivers = new Dictionary<string, string>(entry.Drivers, StringComparer.Ordinal);
        foreach (var (address, driver) in _tenancy.DriversNow(device))
            drivers[address] = driver;
        var taken = TakenBy.Of(device.Rule);
        if (taken != entry.Taken || drivers.Count != entry.Drivers.Count || drivers.Any(d => entry.Drivers.GetValueOrDefault(d.Key) != d.Value))
            _ledger.Write(device.Function.Address, entry with { Drivers = drivers, Taken = taken });
    }

    private void Look()
    {
        var seen = inventory with { Functions = PciScan.Read(tree).Functions, Groups = IommuGroups.Read(tree) };
        var offered = AssignmentRules.Offer(rules, seen, HostUseScan.Read(tree)).Select(d => d.Refusal is null ? d with { Refusal = _tenancy.MissingDriver(d) } : d).ToList();
        var now = time.GetUtcNow();
        lock (_lock)
        {
            (_seen, _offered) = (seen, offered);
            foreach (var device in offered)
            {
                if (!_quarantines.ContainsKey(device.Address))
                    _quarantines[device.Address] = _ledger.Read(device.Function.Address, now).Quarantine;
                // The same refusal keeps its time, or every look would be news.
                if (device.Refusal is null)
                    _refusals.Remove(device.Address);
                else if (_refusals.GetValueOrDefault(device.Address) is not { } known || known.Message != device.Refusal.Message)
                    _refusals[device.Address] = device.Refusal.ToFailure(now);
            }
        }
    }

    private bool IsQuarantined(PciAddress address)
    {
        lock (_lock)
            if (_quarantines.TryGetValue(address.ToString(), out var known))
                return known is not null;
        return _ledger.Read(address, time.GetUtcNow()).Quarantine is not null;
    }

    private Failure? QuarantineOf(OfferedFunction device) => _quarantines.GetValueOrDefault(device.Address) ?? _refusals.GetValueOrDefault(device.Address);

    private OfferedFunction? Find(string address)
    {
        lock (_lock)
            return _offered.FirstOrDefault(d => d.Address == address);
    }

    /// <summary>By the settings, else by the rule that it was taken by: the verbs of a stopped worker have no settings, and a rule may be gone.</summary>
    private OfferedFunction? FindHeld(PciAddress address) => Find(address.ToString())
        ?? (_ledger.Read(address, time.GetUtcNow()).Taken is { } taken && AssignmentRules.Offer([taken.RuleFor(address)], Inventory, HostUses.None) is [var held, ..] ? held : null);

    private static PciAddress Parse(string address) => PciAddress.TryParse(address, out var at) ? at : throw new ArgumentException("no PCI address", nameof(address));
}
