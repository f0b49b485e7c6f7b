using System.Text.Json;
using Api.Audit;
using Api.Devices;
using Api.Events;
using Api.Guests;
using Api.Http;
using Api.Images;
using Api.Nodes;
using Api.Projects;
using Api.Replicas;
using Api.Sandboxes;
using Api.Webhooks;
using Contracts;
using Microsoft.AspNetCore.DataProtection.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.ChangeTracking;
using Microsoft.EntityFrameworkCore.Diagnostics;
using Microsoft.EntityFrameworkCore.Metadata.Builders;
using Npgsql;
using Npgsql.EntityFrameworkCore.PostgreSQL.Infrastructure;
using Sandbox = Api.Sandboxes.Sandbox;

namespace Api.Data;

/// <summary>The one database. Uniqueness, foreign keys and phase checks live here, so no replica can store what must not be.
/// Fault samples are not an entity: they arrive by COPY (Faults/FaultStore). Nor are the chunks of images (Images/ContentStore).</summary>
public sealed class SandboxDb(DbContextOptions<SandboxDb> options) : DbContext(options), IDataProtectionKeyContext
{
    public DbSet<Project> Projects => Set<Project>();
    public DbSet<ApiKey> ApiKeys => Set<ApiKey>();
    public DbSet<Session> Sessions => Set<Session>();
    public DbSet<Sandbox> Sandboxes => Set<Sandbox>();
    public DbSet<Node> Nodes => Set<Node>();
    public DbSet<Replica> Replicas => Set<Replica>();
    public DbSet<RetiredNodeToken> RetiredNodeTokens => Set<RetiredNodeToken>();
    public DbSet<JoinToken> JoinTokens => Set<JoinToken>();
    public DbSet<NodeInventoryRow> NodeInventories => Set<NodeInventoryRow>();
    public DbSet<Device> Devices => Set<Device>();
    public DbSet<NodeImage> NodeImages => Set<NodeImage>();
    public DbSet<RegisteredImage> RegisteredImages => Set<RegisteredImage>();
    public DbSet<StoredImageFile> StoredImageFiles => Set<StoredImageFile>();
    public DbSet<ImageContent> ImageContents => Set<ImageContent>();
    public DbSet<ImageDownload> ImageDownloads => Set<ImageDownload>();
    public DbSet<Event> Events => Set<Event>();
    public DbSet<AuditEntry> AuditEntries => Set<AuditEntry>();
    public DbSet<IdempotencyKey> IdempotencyKeys => Set<IdempotencyKey>();
    public DbSet<EventCounter> EventCounters => Set<EventCounter>();
    public DbSet<WebhookEndpoint> WebhookEndpoints => Set<WebhookEndpoint>();
    public DbSet<WebhookDelivery> WebhookDeliveries => Set<WebhookDelivery>();
    public DbSet<DataProtectionKey> DataProtectionKeys => Set<DataProtectionKey>();

    private readonly List<Func<Task>> afterCommit = [];

    /// <summary>The transaction of a use case. Within one that is open already it is a part of that (a savepoint): it can be undone alone, and is stored with the whole.</summary>
    public async Task<UseCase> BeginAsync(CancellationToken ct) =>
        Database.CurrentTransaction is { } outer ? await UseCase.PartOfAsync(outer, ct) : UseCase.Whole(await Database.BeginTransactionAsync(ct), this);

    /// <summary>Does what must not be seen before what it tells of: now, or once the open transaction is stored. Not at all when it is undone.</summary>
    public Task AfterCommitAsync(Func<Task> action)
    {
        if (Database.CurrentTransaction is null) return action();
        afterCommit.Add(action);
        return Task.CompletedTask;
    }

    /// <inheritdoc cref="AfterCommitAsync(Func{Task})"/>
    public Task AfterCommitAsync(Action action) => AfterCommitAsync(() =>
    {
        action();
        return Task.CompletedTask;
    });

    internal async Task CommittedAsync()
    {
        var due = afterCommit.ToList();
        afterCommit.Clear();
        foreach (var action in due) await action();
    }

    private static readonly (string Setting, string Value)[] NoticesLoss =
        [("tcp_keepalives_idle", "10"), ("tcp_keepalives_interval", "5"), ("tcp_keepalives_count", "3"), ("tcp_user_timeout", "25s"), ("client_connection_check_interval", "5s")];

    /// <summary>All connections of one program. A request waits for one of them rather than for the server to refuse one more:
    /// unless the connection string says otherwise there are fewer than a third of what PostgreSQL allows by default, so that three replicas fit.</summary>
    public static NpgsqlDataSource OpenSource(string connectionString)
    {
        var settings = new NpgsqlConnectionStringBuilder(connectionString);
        if (!settings.ShouldSerialize("Maximum Pool Size")) settings.MaxPoolSize = 30;
        // The server must notice within half a minute that a replica's machine is gone, or what that one had locked stays locked for as long as TCP waits by default: hours.
        foreach (var (setting, value) in NoticesLoss)
            if (settings.Options?.Contains($"{setting}=", StringComparison.Ordinal) != true) settings.Options = $"{settings.Options} -c {setting}={value}".TrimStart();
        return NpgsqlDataSource.Create(settings);
    }

    /// <summary>The options that the API and the migrations share.</summary>
    public static DbContextOptionsBuilder Configure(DbContextOptionsBuilder options, NpgsqlDataSource source) => Common(options.UseNpgsql(source, WithMigrations));

    public static DbContextOptionsBuilder Configure(DbContextOptionsBuilder options, string connectionString) => Common(options.UseNpgsql(connectionString, WithMigrations));

    private static void WithMigrations(NpgsqlDbContextOptionsBuilder options) => options.MigrationsAssembly("Sandbox.Migrations");

    private static DbContextOptionsBuilder Common(DbContextOptionsBuilder options) =>
        options.UseSnakeCaseNamingConvention()
            // A write that the database refused is an outcome here (a taken name, a row changed meanwhile); what nobody expected is logged where it ends.
            .ConfigureWarnings(w => w.Log((CoreEventId.SaveChangesFailed, LogLevel.Debug), (RelationalEventId.CommandError, LogLevel.Debug)));

    /// <summary>Events are stored last, in the same transaction: see <see cref="EventWriting"/>.</summary>
    public override async Task<int> SaveChangesAsync(bool acceptAllChangesOnSuccess, CancellationToken cancellationToken = default)
    {
        if (EventWriting.Take(ChangeTracker) is not { Count: > 0 } events) return await base.SaveChangesAsync(acceptAllChangesOnSuccess, cancellationToken);
        await using var own = Database.CurrentTransaction is null ? await Database.BeginTransactionAsync(cancellationToken) : null;
        var saved = await base.SaveChangesAsync(acceptAllChangesOnSuccess, cancellationToken) + await EventWriting.InsertAsync(this, events, cancellationToken);
        if (own is not null) await own.CommitAsync(cancellationToken);
        return saved;
    }

    protected override void ConfigureConventions(ModelConfigurationBuilder configurationBuilder)
    {
        foreach (var type in (Type[])[typeof(Phase), typeof(DesiredState), typeof(NodePhase), typeof(DevicePhase), typeof(Origin), typeof(Viommu), typeof(Vmm), typeof(HugePageSize), typeof(LeaseEnd), typeof(DeliveryState), typeof(Role), typeof(ImagePhase), typeof(ImageFileRole), typeof(DiskFormat)])
            configurationBuilder.Properties(type).HaveConversion<string>().HaveMaxLength(32);
    }

    protected override void OnModelCreating(ModelBuilder modelBuilder)
    {
        modelBuilder.Entity<Project>(e =>
        {
            e.HasIndex(p => p.Name).IsUnique();
            e.HasIndex(p => p.Operates).IsUnique().HasFilter("operates").HasDatabaseName("ix_projects_operating");
            e.Property(p => p.Version).IsRowVersion();
            Json(e.Property(p => p.MaxDevices));
            e.Ignore(p => p.Quotas);
        });
        modelBuilder.Entity<ApiKey>(e =>
        {
            e.HasIndex(k => k.SecretSha256).IsUnique();
            e.HasIndex(k => k.PreviousSha256).IsUnique();
            e.HasOne<Project>().WithMany().HasForeignKey(k => k.ProjectId);
            e.Property(k => k.Name).HasMaxLength(ProjectRules.MaxKeyName);
            e.Property(k => k.Generation).IsConcurrencyToken();
            e.ToTable(t => t.HasCheckConstraint("ck_api_keys_role", $"role IN ({string.Join(", ", Enum.GetNames<Role>().Select(n => $"'{n}'"))})"));
        });
        modelBuilder.Entity<Session>(e =>
        {
            e.HasIndex(s => s.KeyId);
            e.HasIndex(s => s.Subject);
            e.HasIndex(s => s.ExpiresAt);
            e.HasOne<Project>().WithMany().HasForeignKey(s => s.ProjectId);
            e.HasOne<ApiKey>().WithMany().HasForeignKey(s => s.KeyId).OnDelete(DeleteBehavior.Cascade);
        });
        modelBuilder.Entity<Sandbox>(e =>
        {
            e.HasIndex(s => new { s.ProjectId, s.Name }).IsUnique().HasDatabaseName("ix_sandboxes_project_name");
            e.HasIndex(s => s.NodeId);
            // What a sandbox starts from stays as long as the sandbox does.
            e.HasOne<RegisteredImage>().WithMany().HasForeignKey(s => s.ImageId).OnDelete(DeleteBehavior.Restrict);
            e.HasIndex(s => new { s.Phase, s.Id });
            // No foreign key: the other may be deleted meanwhile.
            e.HasIndex(s => s.PreemptedFor).HasFilter("preempted_for IS NOT NULL");
            e.ToTable(t => t.HasCheckConstraint("ck_sandboxes_priority", $"priority BETWEEN {SandboxValidation.MinPriority} AND {SandboxValidation.MaxPriority}"));
            e.HasOne<Project>().WithMany().HasForeignKey(s => s.ProjectId);
            e.HasOne<Node>().WithMany().HasForeignKey(s => s.NodeId).OnDelete(DeleteBehavior.Restrict);
            e.Property(s => s.Version).IsRowVersion();
            e.Property(s => s.Name).HasMaxLength(63);
            e.Property(s => s.WantedNode).HasMaxLength(63);
            Json(e.Property(s => s.Accelerators));
            Json(e.Property(s => s.Labels));
            Json(e.Property(s => s.SshKeys));
            Json(e.Property(s => s.Conditions));
            Json(e.Property(s => s.Phases));
            Json(e.Property(s => s.Failure));
            Json(e.Property(s => s.Verdict));
            Json(e.Property(s => s.Guest));
            Json(e.Property(s => s.Probe));
            Json(e.Property(s => s.FaultStorm));
            Json(e.Property(s => s.Rules));
            Json(e.Property(s => s.Restart));
            e.HasIndex(s => s.RestartAt).HasFilter("restart_at IS NOT NULL");
            e.HasIndex(s => s.LastActivityAt).HasFilter("lease_idle_timeout_seconds IS NOT NULL").HasDatabaseName("ix_sandboxes_idle_lease");
            e.ToTable(t => t.HasCheckConstraint("ck_sandboxes_phase",
                $"phase IN ({string.Join(", ", Enum.GetNames<Phase>().Select(n => $"'{n}'"))})"));
            e.ToTable(t => t.HasCheckConstraint("ck_sandboxes_desired",
                $"desired IN ({string.Join(", ", Enum.GetNames<DesiredState>().Select(n => $"'{n}'"))})"));
            e.ToTable(t => t.HasCheckConstraint("ck_sandboxes_placed", "phase IN ('Pending', 'Stopped', 'Failed', 'Deleting') OR node_id IS NOT NULL"));
        });
        modelBuilder.Entity<Node>(e =>
        {
            e.HasIndex(n => n.Name).IsUnique();
            e.HasIndex(n => n.TokenSha256).IsUnique();
            e.Property(n => n.Version).IsRowVersion();
            e.HasIndex(n => n.NextTokenSha256).IsUnique();
            Json(e.Property(n => n.Facts));
            Json(e.Property(n => n.Drain));
            Json(e.Property(n => n.Refusal));
        });
        modelBuilder.Entity<RetiredNodeToken>(e =>
        {
            // No foreign key: it outlives its node.
            e.HasKey(t => t.TokenSha256);
            e.Property(t => t.NodeName).HasMaxLength(63);
            e.Property(t => t.Code).HasMaxLength(64);
            e.HasIndex(t => t.At);
        });
        modelBuilder.Entity<Replica>(e => e.HasIndex(r => r.SeenAt));
        modelBuilder.Entity<JoinToken>(e =>
        {
            e.HasIndex(t => t.TokenSha256).IsUnique();
            e.HasIndex(t => t.ExpiresAt);
            e.Property(t => t.Name).HasMaxLength(63);
            e.Property(t => t.Version).IsRowVersion();
        });
        modelBuilder.Entity<NodeInventoryRow>(e =>
        {
            e.ToTable("node_inventories").HasKey(i => i.NodeId);
            e.HasOne<Node>().WithOne().HasForeignKey<NodeInventoryRow>(i => i.NodeId);
            Json(e.Property(i => i.Inventory));
        });
        modelBuilder.Entity<Device>(e =>
        {
            e.HasIndex(d => new { d.NodeId, d.Address }).IsUnique();
            e.HasIndex(d => d.SandboxId);
            e.HasOne<Node>().WithMany().HasForeignKey(d => d.NodeId);
            e.HasOne<Sandbox>().WithMany().HasForeignKey(d => d.SandboxId).OnDelete(DeleteBehavior.Restrict);
            e.Property(d => d.Version).IsRowVersion();
            Json(e.Property(d => d.Quarantine));
            Json(e.Property(d => d.Verdict));
            e.Property(d => d.VerdictClass).HasComputedColumnSql("verdict ->> 'class'", stored: true);
            Json(e.Property(d => d.OperatorQuarantine));
            Json(e.Property(d => d.Viommus));
            // In ticks: the node compares it with its own, and a timestamp of the database would round it to microseconds.
            e.Property(d => d.LiftQuarantineOf).HasConversion(at => at!.Value.UtcTicks, ticks => new DateTimeOffset(ticks, TimeSpan.Zero));
            e.ToTable(t => t.HasCheckConstraint("ck_devices_assigned", "(phase = 'Assigned') <= (sandbox_id IS NOT NULL)"));
        });
        modelBuilder.Entity<NodeImage>(e =>
        {
            e.HasKey(i => new { i.NodeId, i.Name });
            e.HasOne<Node>().WithMany().HasForeignKey(i => i.NodeId);
        });
        modelBuilder.Entity<RegisteredImage>(e =>
        {
            e.HasIndex(i => new { i.ProjectId, i.Name }).IsUnique().HasFilter("project_id IS NOT NULL").HasDatabaseName("ix_registered_images_project_name");
            e.HasIndex(i => i.Name).IsUnique().HasFilter("project_id IS NULL").HasDatabaseName("ix_registered_images_shared_name");
            e.HasOne<Project>().WithMany().HasForeignKey(i => i.ProjectId);
            e.Property(i => i.Name).HasMaxLength(63);
            e.Property(i => i.KernelVersion).HasMaxLength(ImageValidation.MaxKernelVersion);
            e.Property(i => i.CommandLine).HasMaxLength(ImageValidation.MaxCommandLine);
            Json(e.Property(i => i.Files));
            Json(e.Property(i => i.Failure));
            e.Property(i => i.Version).IsRowVersion();
            e.ToTable(t => t.HasCheckConstraint("ck_registered_images_phase", $"phase IN ({string.Join(", ", Enum.GetNames<ImagePhase>().Select(n => $"'{n}'"))})"));
        });
        modelBuilder.Entity<ImageContent>(e =>
        {
            e.Property(c => c.Sha256).HasMaxLength(64);
            e.HasIndex(c => c.Sha256).IsUnique().HasFilter("complete").HasDatabaseName("ix_image_contents_complete");
        });
        modelBuilder.Entity<StoredImageFile>(e =>
        {
            e.HasKey(f => new { f.ImageId, f.Role });
            e.HasOne<RegisteredImage>().WithMany().HasForeignKey(f => f.ImageId).OnDelete(DeleteBehavior.Cascade);
            e.HasOne<ImageContent>().WithMany().HasForeignKey(f => f.ContentId).OnDelete(DeleteBehavior.Restrict);
        });
        modelBuilder.Entity<ImageDownload>(e =>
        {
            e.HasKey(d => d.ImageId);
            e.HasOne<RegisteredImage>().WithOne().HasForeignKey<ImageDownload>(d => d.ImageId).OnDelete(DeleteBehavior.Cascade);
            e.HasIndex(d => d.ClaimedUntil);
        });
        modelBuilder.Entity<Event>(e =>
        {
            e.HasKey(x => new { x.ProjectId, x.Number });
            // No foreign key: its check would wait for whoever has the project's row locked and waits for the counter.
            Json(e.Property(x => x.Labels));
            Json(e.Property(x => x.Sandbox));
            e.Property(x => x.Number).ValueGeneratedOnAdd().HasAnnotation("Npgsql:ValueGenerationStrategy", Npgsql.EntityFrameworkCore.PostgreSQL.Metadata.NpgsqlValueGenerationStrategy.None);
            e.HasIndex(x => new { x.ProjectId, x.SubjectId, x.Number });
        });
        modelBuilder.Entity<EventCounter>().HasKey(c => c.ProjectId);
        modelBuilder.Entity<WebhookEndpoint>(e =>
        {
            e.HasIndex(w => w.ProjectId);
            e.HasOne<Project>().WithMany().HasForeignKey(w => w.ProjectId);
            e.Property(w => w.Url).HasMaxLength(GuardedUrl.MaxLength);
            Json(e.Property(w => w.Types));
            Json(e.Property(w => w.Labels));
            Json(e.Property(w => w.Disabled));
        });
        modelBuilder.Entity<WebhookDelivery>(e =>
        {
            e.HasKey(d => new { d.EndpointId, d.Number });
            e.HasOne<WebhookEndpoint>().WithMany().HasForeignKey(d => d.EndpointId).OnDelete(DeleteBehavior.Cascade);
            e.HasIndex(d => new { d.EndpointId, d.EventNumber }).IsUnique().HasDatabaseName("ix_webhook_deliveries_event");
            e.HasIndex(d => new { d.EndpointId, d.Stream }).IsUnique().HasFilter("state = 'Pending'").HasDatabaseName("ix_webhook_deliveries_one_pending");
            e.HasIndex(d => new { d.EndpointId, d.Stream, d.EventNumber }).HasFilter("state = 'Waiting'").HasDatabaseName("ix_webhook_deliveries_waiting");
            e.HasIndex(d => new { d.EndpointId, d.DueAt, d.Number }).HasFilter("state = 'Pending'").HasDatabaseName("ix_webhook_deliveries_due");
            e.ToTable(t => t.HasCheckConstraint("ck_webhook_deliveries_due", "(state = 'Pending') = (due_at IS NOT NULL)"));
        });
        modelBuilder.Entity<AuditEntry>(e =>
        {
            // No foreign keys: it outlives what it tells of.
            e.Property(x => x.Id).ValueGeneratedOnAdd().HasAnnotation("Npgsql:ValueGenerationStrategy", Npgsql.EntityFrameworkCore.PostgreSQL.Metadata.NpgsqlValueGenerationStrategy.None);
            e.HasIndex(x => new { x.ProjectId, x.Id });
            e.HasIndex(x => new { x.SubjectId, x.Id });
            e.Property(x => x.Before).HasColumnType("jsonb");
            e.Property(x => x.After).HasColumnType("jsonb");
        });
        modelBuilder.Entity<IdempotencyKey>(e =>
        {
            e.HasKey(x => new { x.ProjectId, x.Actor, x.KeySha256 });
            e.HasIndex(x => x.CreatedAt);
        });
    }

    private static void Json<T>(PropertyBuilder<T> property)
    {
        property.HasColumnType("jsonb").HasConversion(
            v => JsonSerializer.Serialize(v, JsonSerializerOptions.Web),
            s => JsonSerializer.Deserialize<T>(s, JsonSerializerOptions.Web)!,
            new ValueComparer<T>(
                // What is stored is replaced and never changed in place, so what was not replaced needs no look.
                (a, b) => ReferenceEquals(a, b) || JsonSerializer.Serialize(a, JsonSerializerOptions.Web) == JsonSerializer.Serialize(b, JsonSerializerOptions.Web),
                v => JsonSerializer.Serialize(v, JsonSerializerOptions.Web).GetHashCode(StringComparison.Ordinal),
                v => v));
    }
}
