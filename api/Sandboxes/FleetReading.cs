using Api.Data;
using Api.Images;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>What placement decides by, read from the database: the fleet, what projects have of it, and who waits.</summary>
public static class FleetReading
{
    public static Placement.Request RequestOf(Sandbox sandbox, IReadOnlyDictionary<Guid, Placement.Image> images) =>
        Request(sandbox.Id, sandbox.ProjectId, sandbox.Priority, sandbox.Image, ImageOf(sandbox.ImageId, images), sandbox.Vcpus, sandbox.MemoryMib, sandbox.Viommu, sandbox.Accelerators, sandbox.Vmm, sandbox.WantedNode, sandbox.Labels, sandbox.Rules, sandbox.HugePages);

    private static Placement.Image? ImageOf(Guid? id, IReadOnlyDictionary<Guid, Placement.Image> images) =>
        // One that is gone meanwhile is of a sandbox that is gone.
        id is { } of ? images.GetValueOrDefault(of) ?? new(of, ImagePhase.Waiting, false) : null;

    private static Placement.Request Request(Guid id, Guid project, int priority, string image, Placement.Image? registered, int vcpus, int memoryMib, Viommu viommu, List<AcceleratorCount> accelerators, Vmm vmm, string? node, Dictionary<string, string> labels, PlacementRules? rules, HugePageSize hugePages) =>
        new(image, vcpus, memoryMib, viommu, accelerators, vmm, node)
        {
            Id = id,
            Registered = registered,
            Project = project,
            Priority = priority,
            Preempts = rules?.Preempts == true && priority > 0,
            Labels = labels,
            Strategy = rules?.Strategy ?? PlacementStrategy.Spread,
            With = rules?.With,
            ApartFrom = rules?.ApartFrom,
            Numa = rules?.Numa ?? NumaLocality.Any,
            HugePages = hugePages,
        };

    /// <summary>On which node's account it is: placed, and its guest has not ended.</summary>
    public static IQueryable<Sandbox> OnNodes(SandboxDb db) =>
        db.Sandboxes.AsNoTracking().Where(s => s.NodeId != null && s.Phase != Phase.Stopped && s.Phase != Phase.Failed && s.Phase != Phase.Pending);

    public static IQueryable<Sandbox> Waiting(SandboxDb db) => db.Sandboxes.Where(s => s.Phase == Phase.Pending && s.Desired == DesiredState.Running);

    public static async Task<List<Placement.NodePicture>> ReadFleetAsync(SandboxDb db, CancellationToken ct)
    {
        var nodes = await db.Nodes.AsNoTracking().Where(n => n.Facts != null).OrderBy(n => n.Id).ToListAsync(ct);
        if (nodes.Count == 0) return [];
        var taken = await OnNodes(db).GroupBy(s => s.NodeId!.Value).Select(g => new { g.Key, Vcpus = g.Sum(s => s.Vcpus), Mib = g.Sum(s => (long)s.MemoryMib) })
            .ToDictionaryAsync(g => g.Key, ct);
        var pages = await HugePageUse.ReadAsync(OnNodes(db), ct);
        var devices = (await db.Devices.AsNoTracking()
            .Where(d => d.Present && d.Phase != DevicePhase.Quarantined && d.OperatorQuarantine == null).OrderBy(d => d.Address)
            // Not its verdict, which is the most of a row: a pass reads all of the fleet.
            .Select(d => new { d.Id, d.NodeId, d.Class, d.VendorId, d.DeviceId, d.VerdictClass, d.Viommus, d.FitsKvmtool, d.Origin, IsFree = d.SandboxId == null && d.Phase == DevicePhase.Available }).ToListAsync(ct)).ToLookup(d => d.NodeId);
        var simulating = (await db.Devices.AsNoTracking().Where(d => d.Present && d.Origin == Origin.Simulated).Select(d => d.NodeId).Distinct().ToListAsync(ct)).ToHashSet();
        var images = (await db.NodeImages.AsNoTracking().Select(i => new { i.NodeId, i.Name }).ToListAsync(ct)).ToLookup(i => i.NodeId, i => i.Name);
        var used = await ReadImageFilesAsync(db, OnNodes(db), ct);
        return nodes.Select(n => new Placement.NodePicture
        {
            Id = n.Id,
            Name = n.Name,
            Phase = n.Phase,
            Vmms = Vmms(n.Facts!, simulating.Contains(n.Id)),
            Viommus = n.Facts!.Viommus.ToHashSet(),
            Images = images[n.Id].ToHashSet(),
            StartsRegistered = n.ProtocolMinor >= NodeProtocol.RegisteredImages,
            HasFirmware = n.Facts.HasFirmware,
            ImageCacheMaxBytes = n.Facts.ImageCacheMaxBytes,
            ImageFiles = [.. used[n.Id]],
            VcpuCapacity = n.Facts.VcpuCapacity,
            MemoryCapacityMib = n.Facts.MemoryCapacityMib,
            FreeVcpus = n.Facts.VcpuCapacity - (taken.TryGetValue(n.Id, out var u) ? u.Vcpus : 0),
            FreeMemoryMib = n.Facts.MemoryCapacityMib - (u?.Mib ?? 0),
            HugePageCapacity = pages.CapacityOf(n),
            FreeHugePages = pages.FreeOf(n),
            FreeDevices = Devices(n.Id, free: true),
            HeldDevices = Devices(n.Id, free: false),
        }).ToList();

        List<Placement.FreeDevice> Devices(Guid node, bool free) => devices[node].Where(d => d.IsFree == free)
            .Select(d => new Placement.FreeDevice(d.Id, d.Class, d.Viommus.ToHashSet(), d.FitsKvmtool)
            {
                IsSimulated = d.Origin == Origin.Simulated,
                VendorId = d.VendorId,
                DeviceId = d.DeviceId,
                Verdict = Enum.TryParse<VerdictClass>(d.VerdictClass, ignoreCase: true, out var verdict) ? verdict : VerdictClass.Unknown,
            }).ToList();
    }

    /// <summary>Every worker can simulate; one that offers devices for it wants to.</summary>
    private static HashSet<Vmm> Vmms(NodeFacts facts, bool simulates)
    {
        var vmms = new HashSet<Vmm>();
        if (facts.VmmVersion is not null) vmms.Add(Vmm.Qemu);
        if (facts.KvmtoolVersion is not null) vmms.Add(Vmm.Kvmtool);
        if (simulates) vmms.Add(Vmm.Simulated);
        return vmms;
    }

    /// <summary>For whom nodes are kept while others end, and what only some ask for: who is on the nodes, and where in its host a device is.</summary>
    public static async Task AddDetailsAsync(SandboxDb db, List<Placement.NodePicture> fleet, IReadOnlyList<Placement.Request> asking, CancellationToken ct)
    {
        var nodes = fleet.ToDictionary(n => n.Id);
        foreach (var claim in await PreemptionNotices.ClaimsAsync(db, ct))
            if (nodes.TryGetValue(claim.Node, out var kept)) kept.Reservation = new(claim.By, claim.Priority);
        foreach (var (node, resident) in await ReadResidentsAsync(OnNodes(db), asking, ct))
            if (nodes.TryGetValue(node, out var on)) on.Residents.Add(resident);
        if (asking.All(r => r.Numa == NumaLocality.Any)) return;
        var places = await db.Database.SqlQuery<DevicePlace>($"""
            SELECT d.id, (f ->> 'numaNode')::int AS numa_node FROM node_inventories i CROSS JOIN LATERAL jsonb_array_elements(i.inventory -> 'functions') f
            JOIN devices d ON d.node_id = i.node_id AND d.address = f ->> 'address' WHERE (f ->> 'numaNode')::int >= 0
            """).ToDictionaryAsync(p => p.Id, ct);
        foreach (var device in fleet.SelectMany(n => n.FreeDevices.Concat(n.HeldDevices)))
            device.NumaNode = places.TryGetValue(device.Id, out var place) ? place.NumaNode : null;
    }

    /// <summary>The files of registered images from which sandboxes on nodes run, each as often as it is in one of their images.</summary>
    public static async Task<ILookup<Guid, Placement.ImageFile>> ReadImageFilesAsync(SandboxDb db, IQueryable<Sandbox> onNodes, CancellationToken ct)
    {
        var used = await onNodes.Where(s => s.ImageId != null && s.Vmm != Vmm.Simulated).Select(s => new { Node = s.NodeId!.Value, Image = s.ImageId }).Distinct().ToListAsync(ct);
        var images = await ImageChoice.ReadAsync(db, used.Select(u => u.Image), ct);
        return used.Where(u => images.ContainsKey(u.Image!.Value)).SelectMany(u => images[u.Image!.Value].Files, (u, file) => (u.Node, File: file)).ToLookup(u => u.Node, u => u.File);
    }

    /// <summary>Those on nodes by whom the labels of others are judged, and those whom somebody who asks may want to be beside or apart from.</summary>
    public static async Task<List<(Guid Node, Placement.Resident Resident)>> ReadResidentsAsync(IQueryable<Sandbox> onNodes, IReadOnlyList<Placement.Request> asking, CancellationToken ct)
    {
        var related = asking.Where(r => r.With is not null || r.ApartFrom is not null).Select(r => r.Project).Distinct().ToList();
        return (await onNodes.Where(s => s.Rules != null || related.Contains(s.ProjectId)).Select(s => new { s.Id, s.NodeId, s.ProjectId, s.Labels, s.Rules }).ToListAsync(ct))
            .ConvertAll(s => (s.NodeId!.Value, new Placement.Resident(s.Id, s.ProjectId, s.Labels, s.Rules?.ApartFrom)));
    }

    /// <summary>Those below a priority that could end for another, and those of any that end anyway, on the nodes as the picture shows them.</summary>
    public static async Task<ILookup<Guid, Preemption.Guest>> ReadGuestsAsync(SandboxDb db, IReadOnlyList<Placement.NodePicture> fleet, int below, CancellationToken ct)
    {
        var guests = await OnNodes(db).Where(s => s.Phase != Phase.Lost)
            .Select(s => new { s.Id, s.NodeId, s.Priority, s.Vcpus, s.MemoryMib, s.HugePages, Leaves = s.Desired != DesiredState.Running || s.Phase == Phase.Stopping, Noticed = s.PreemptedFor != null })
            .Where(s => s.Leaves || s.Priority < below && !s.Noticed).ToListAsync(ct);
        var held = (await db.Devices.AsNoTracking().Where(d => d.SandboxId != null).Select(d => new { d.Id, Holder = d.SandboxId!.Value }).ToListAsync(ct)).ToLookup(d => d.Holder, d => d.Id);
        var devices = fleet.SelectMany(n => n.HeldDevices).ToDictionary(d => d.Id);
        return guests.ConvertAll(g => new Preemption.Guest(g.Id, g.NodeId!.Value, g.Priority, g.Vcpus, g.MemoryMib, [.. held[g.Id].Where(devices.ContainsKey).Select(d => devices[d])], g.Leaves) { HugePages = g.HugePages }).ToLookup(g => g.Node);
    }

    private sealed record DevicePlace(Guid Id, int NumaNode);

    public static async Task<PlacementQueue.Shares> ReadSharesAsync(SandboxDb db, IReadOnlyList<Placement.NodePicture> fleet, CancellationToken ct)
    {
        var shares = new PlacementQueue.Shares(fleet);
        var sums = await OnNodes(db).GroupBy(s => s.ProjectId).Select(g => new { g.Key, Vcpus = g.Sum(s => s.Vcpus), Mib = g.Sum(s => (long)s.MemoryMib) }).ToListAsync(ct);
        var devices = (await (from d in db.Devices.AsNoTracking()
                              join s in OnNodes(db) on d.SandboxId equals s.Id
                              group d by new { s.ProjectId, d.Class } into g
                              select new { g.Key.ProjectId, g.Key.Class, Count = g.Count() }).ToListAsync(ct)).ToLookup(d => d.ProjectId);
        foreach (var of in sums) shares.Use(of.Key, of.Vcpus, of.Mib, devices[of.Key].Select(d => new AcceleratorCount(d.Class, d.Count)));
        return shares;
    }

    /// <summary>All that wait, without what placement does not ask for.</summary>
    public static async Task<List<Queued>> ReadWaitingAsync(SandboxDb db, IQueryable<Sandbox> waiting, CancellationToken ct)
    {
        var rows = await waiting.AsNoTracking().Select(s => new { s.Id, s.ProjectId, s.Priority, s.QueuedAt, s.Image, s.ImageId, s.Vcpus, s.MemoryMib, s.Viommu, s.Accelerators, s.Vmm, s.WantedNode, s.Labels, s.Rules, s.HugePages, s.RefusedReason }).ToListAsync(ct);
        var images = await ImageChoice.ReadAsync(db, rows.Select(s => s.ImageId), ct);
        return rows.ConvertAll(s => new Queued(new(s.Id, s.ProjectId, s.Priority, s.QueuedAt,
            Request(s.Id, s.ProjectId, s.Priority, s.Image, ImageOf(s.ImageId, images), s.Vcpus, s.MemoryMib, s.Viommu, s.Accelerators, s.Vmm, s.WantedNode, s.Labels, s.Rules, s.HugePages)), s.RefusedReason));
    }

    /// <summary><c>RefusedReason</c>: the stored one; null: it is new.</summary>
    public sealed record Queued(PlacementQueue.Waiting Waiting, string? RefusedReason);
}
